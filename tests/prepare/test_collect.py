"""B1, F20, F21, F25, F26, F27: pictures from everywhere into one folder, sources untouched."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from renma.config.prepare.collect import CollectOptions
from renma.config.prepare.repeat import RepeatOptions
from renma.core.errors import UserError
from renma.prepare import collect, collect_one, repeat
from renma.prepare._record import Record
from renma.prepare.safe_name import Names, safe_name


class Told:
    """A report that remembers."""

    def __init__(self) -> None:
        self.text = ""

    def event(self, kind: str, **data: Any) -> None:
        if kind == "warned":
            self.line(data["text"])

    def line(self, text: str) -> None:
        self.text += text + "\n"


def take(*sources: Path, out: Path, **options: Any) -> str:
    told = Told()
    collect.run(CollectOptions(folders=sources, out=out, executor="serial", **options), told)
    return told.text


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (48, 32), **options: Any) -> Path:
    noise = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, **options)
    return path


def seen(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder but record and contact sheet, with its hash."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and ".renma" not in p.parts and p.name != "sheet.html"
    }


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Five pictures in three folders, some with captions, one broken, one hidden."""
    folder = tmp_path / "source"
    picture(folder / "a.png", 1)
    (folder / "a.txt").write_text("one, red")
    picture(folder / "b" / "a.jpg", 2)
    (folder / "b" / "a.TXT").write_bytes("二".encode("cp932"))
    picture(folder / "b" / "c.webp", 3)
    picture(folder / "d" / "e.png", 4)
    picture(folder / ".hidden" / "x.png", 5)
    (folder / "broken.png").write_bytes(b"<html>")
    return folder


def test_bytes_and_captions_arrive_and_sources_stay(source: Path, tmp_path: Path):
    before = files(source)
    said = take(source, out=tmp_path / "out")
    assert files(source) == before
    got = files(tmp_path / "out")
    assert set(got) == {"a.png", "a.txt", "a-2.jpg", "a-2.txt", "c.webp", "e.png"}
    same = {"a.png": "a.png", "a.txt": "a.txt", "a-2.jpg": "b/a.jpg", "a-2.txt": "b/a.TXT"}
    assert all(got[new] == before[old] for new, old in same.items())
    assert "broken.png" in said
    assert "not a picture" in said
    assert "4 pictures and 2 captions of 5" in said


def test_folders_are_kept_when_asked(source: Path, tmp_path: Path):
    take(source, out=tmp_path / "out", keep_folders=True)
    wanted = {"a.png", "a.txt", "b/a.jpg", "b/a.txt", "b/c.webp", "d/e.png"}
    assert set(files(tmp_path / "out")) == wanted


def test_a_second_run_writes_nothing_and_a_new_source_adds(source: Path, tmp_path: Path):
    out = tmp_path / "out"
    take(source, out=out)
    times = {p: p.stat().st_mtime_ns for p in out.iterdir() if p.suffix not in ("", ".html")}
    assert "0 taken in now, 4 before" in take(source, out=out)
    assert {p: p.stat().st_mtime_ns for p in times} == times
    picture(tmp_path / "more" / "a.png", 9)
    take(tmp_path / "more", out=out)
    assert (out / "a-3.png").exists()
    assert set(files(out)) == {p.name for p in times} | {"a-3.png"}


def test_a_killed_run_goes_on_under_the_same_names(source: Path, tmp_path: Path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "out"
    take(source, out=whole)
    count, real = 0, collect.Record.add

    def dies(self, row) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise RuntimeError("power cut")  # the picture is written, its row is not
        real(self, row)

    with monkeypatch.context() as patched:
        patched.setattr(collect.Record, "add", dies)
        with pytest.raises(RuntimeError, match="power cut"):
            take(source, out=out)
    take(source, out=out)
    assert files(out) == files(whole)


def test_hand_made_changes_are_kept(source: Path, tmp_path: Path):
    out = tmp_path / "out"
    take(source, out=out)
    (out / "a.txt").write_text("edited")
    (out / "c.webp").unlink()
    take(source, out=out)
    assert (out / "a.txt").read_text() == "edited"
    assert not (out / "c.webp").exists()
    (out / "e-2.png").write_bytes(b"somebody's")
    picture(tmp_path / "z" / "e.png", 7)
    take(tmp_path / "z", out=out)
    assert (out / "e-2.png").read_bytes() == b"somebody's"
    assert (out / "e-3.png").exists()


def test_folders_that_are_not_ours_are_refused(source: Path, tmp_path: Path):
    for out in (source, source / "inner", tmp_path):
        with pytest.raises(UserError, match="within a folder of pictures, or around it"):
            take(source, out=out)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        take(source, out=foreign)
    assert list(foreign.iterdir()) == [foreign / "diary.txt"]


def test_dry_run_writes_nothing(source: Path, tmp_path: Path):
    before = files(tmp_path)
    said = take(source, out=tmp_path / "out", dry_run=True)
    assert "5 pictures of 5 would be taken" in said
    assert files(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_the_work_and_blames_no_picture(source, tmp_path: Path, monkeypatch):
    def full(path: Path, data: bytes) -> None:
        raise UserError("cannot be written (No space left on device)", where=path)

    monkeypatch.setattr(collect_one, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        take(source, out=tmp_path / "out")


def test_archives_and_single_pictures(source: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            archive.write(
                path, f"../{path.name}" if path.name == "e.png" else str(path.relative_to(source))
            )
        archive.writestr("__MACOSX/._a.png", b"x")
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.add(source / "d", "./d")
    single = picture(tmp_path / "single.png", 20)
    single.with_suffix(".caption").write_text("alone")
    said = take(tmp_path / "z.zip", tmp_path / "t.tar.gz", single, out=tmp_path / "out")
    got = files(tmp_path / "out")
    wanted = {
        "a.png",
        "a.txt",
        "a-2.jpg",
        "a-2.txt",
        "c.webp",
        "e.png",
        "single.png",
        "single.caption",
    }
    assert set(got) == wanted
    assert got["a-2.txt"] == files(source)["b/a.TXT"]
    assert "leads out of the archive: z.zip/../e.png" in said
    assert not (tmp_path / "out" / ".renma" / "incoming").exists()
    assert "0 taken in now" in take(tmp_path / "z.zip", out=tmp_path / "out")


def test_convert_makes_plain_pictures(tmp_path: Path):
    """F20, F21: the result is what a person saw, without profile, orientation or odd modes."""
    folder = tmp_path / "in"
    grey16 = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    folder.mkdir()
    Image.fromarray(grey16).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    half = np.zeros((40, 80, 3), np.uint8)
    half[:, :40] = 250
    Image.fromarray(half).save(folder / "side.jpg", exif=exif, quality=100)
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(folder / "print.tif")
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.save(folder / "clear.png")
    take(folder, out=tmp_path / "out", convert="png")
    deep = seen(tmp_path / "out/deep.png")
    assert deep.mode == "RGB"
    assert abs(np.asarray(deep).mean() - 127.5) < 1
    side = seen(tmp_path / "out/side.png")
    assert side.size == (40, 80)
    assert np.asarray(side)[10].mean() > 240  # left half, turned a quarter clockwise, is on top
    assert np.asarray(side)[70].mean() < 15
    assert seen(tmp_path / "out/print.png").getpixel((0, 0)) == (255, 0, 0)
    assert seen(tmp_path / "out/clear.png").mode == "RGBA"
    take(folder, out=tmp_path / "white", convert="png", alpha="white")
    assert seen(tmp_path / "white/clear.png").getpixel((0, 0)) == (255, 255, 255)
    assert (tmp_path / "out/sheet.html").exists()


def test_convert_applies_profiles_as_littlecms_does(tmp_path: Path):
    folder = tmp_path / "in"
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB", 5000)).tobytes()
    picture(folder / "p.png", 3, icc_profile=lab)
    with Image.open(folder / "p.png") as opened:
        wanted = ImageCms.profileToProfile(
            opened, io.BytesIO(lab), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert wanted is not None
        shown = np.asarray(wanted)
    take(folder, out=tmp_path / "out", convert="png")
    made = seen(tmp_path / "out/p.png")
    assert "icc_profile" not in made.info
    assert (np.asarray(made) == shown).all()


@pytest.mark.parametrize(("frames", "wanted"), [("first", [0]), ("all", range(5)), (2, [0, 2, 4])])
def test_frames_of_animations(tmp_path: Path, frames, wanted):
    """F22."""
    colours = [(i * 60, 255 - i * 60, 30) for i in range(5)]
    film = [Image.new("RGB", (16, 16), colour) for colour in colours]
    folder = tmp_path / "in"
    folder.mkdir()
    film[0].save(folder / "film.webp", save_all=True, append_images=film[1:], lossless=True)
    (folder / "film.txt").write_text("moves")
    take(folder, out=tmp_path / "out", convert="png", frames=frames)
    made = sorted((tmp_path / "out").glob("*.png"))
    assert [seen(p).convert("RGB").getpixel((3, 3)) for p in made] == [colours[i] for i in wanted]
    assert len(list((tmp_path / "out").glob("*.txt"))) == len(made)


def test_options_without_effect_are_refused(tmp_path: Path):
    for options in ({"frames": "all"}, {"alpha": "white"}):
        with pytest.raises(UserError, match="has no effect"):
            CollectOptions(folders=(tmp_path,), out=tmp_path / "o", **options)


def test_copies_are_dropped_when_asked(tmp_path: Path):
    """F29."""
    folder = tmp_path / "in"
    first = picture(folder / "a.png", 1, (128, 96))
    (folder / "b.png").write_bytes(first.read_bytes())
    (folder / "b.txt").write_text("caption")
    picture(folder / "c.png", 2, (128, 96))
    with Image.open(folder / "c.png") as opened:
        opened.resize((96, 72), Image.Resampling.LANCZOS).save(folder / "d.jpg", quality=85)
    take(folder, out=tmp_path / "all")
    assert len(list((tmp_path / "all").glob("*.*g"))) == 4
    said = take(folder, out=tmp_path / "exact", drop_duplicates="exact")
    assert set(files(tmp_path / "exact")) == {"b.png", "b.txt", "c.png", "d.jpg"}
    assert "left out as copies" in said
    take(folder, out=tmp_path / "near", drop_duplicates="near")
    assert set(files(tmp_path / "near")) == {"b.png", "b.txt", "c.png"}
    # what is there counts as the original for what comes later, even if it is smaller
    later = tmp_path / "later"
    later.mkdir()
    (later / "new.png").write_bytes(first.read_bytes())
    picture(later / "large.png", 2, (256, 192))
    take(later, out=tmp_path / "near", drop_duplicates="near")
    assert set(files(tmp_path / "near")) == {"b.png", "b.txt", "c.png"}
    take(later, out=tmp_path / "near")
    assert "new.png" in files(tmp_path / "near")


def test_leave_out_list(source: Path, tmp_path: Path):
    listed = tmp_path / "list.txt"
    listed.write_text("# a remark\nb/c.webp\nbroken.png\n# a.png\n", encoding="utf-8")
    take(source, out=tmp_path / "out", leave_out=listed)
    assert set(files(tmp_path / "out")) == {"a.png", "a.txt", "a-2.jpg", "a-2.txt", "e.png"}
    listed.write_text("a.png\nlost.png\n")
    assert "that no picture has: lost.png." in take(source, out=tmp_path / "most", leave_out=listed)
    listed.write_text("nowhere.png\n")
    with pytest.raises(UserError, match="names no picture that is there"):
        take(source, out=tmp_path / "other", leave_out=listed)
    assert not (tmp_path / "other").exists()  # refused: nothing is left behind
    (tmp_path / "own").mkdir()
    with pytest.raises(UserError, match="names no picture that is there"):
        take(source, out=tmp_path / "own", leave_out=listed)
    assert not list((tmp_path / "own").iterdir())


def test_wrong_endings_are_put_right(tmp_path: Path):
    folder = tmp_path / "in"
    picture(folder / "really.jpg", 1)
    (folder / "really.jpg").rename(folder / "says.png")
    take(folder, out=tmp_path / "out")
    assert set(files(tmp_path / "out")) == {"says.jpg"}


def test_odd_names_become_safe_ones(tmp_path: Path):
    """F25, F27: all found, none lost, no two the same to Windows or macOS."""
    folder = tmp_path / "in"
    names = ["CON.png", "a?b.png", "trail .png", "Case.png", "case.png", "-r.png", "[x]%.png", "tab\t.png",
             "e\u0301.png", "\u00e9.png", "猫" * 80 + ".png", "a:b.png", "a|b.png", "😀.png", "dot..png"]  # fmt: skip
    for seed, name in enumerate(names):
        picture(folder / name, seed)
    raw = bytes(folder) + b"/caf\xe9.png"
    Path(raw.decode(errors="surrogateescape")).write_bytes((folder / "CON.png").read_bytes())
    (folder / "loop.png").symlink_to("loop.png")
    take(folder, out=tmp_path / "out")
    made = [p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".png"]
    assert len(made) == len(names) + 1
    assert len({name.casefold() for name in made}) == len(made)
    for name in made:
        stem = name.removesuffix(".png")
        assert safe_name(stem) == stem
        assert len(name.encode()) < 240
    assert {"_CON.png", "a_b.png", "[x]%.png", "😀.png", "_-r.png", "trail.png"} <= set(made)


def test_names_are_handed_out_once():
    names = Names(["A"])
    given = [names.take(PurePosixPath(n)) for n in ("a", "a-2", "a", "b/é", "B/e\u0301", "nul.x")]
    assert given == ["a-2", "a-2-2", "a-3", "b/é", "B/é-2", "_nul.x"]


def test_missing_and_strange_sources_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="there is no such file"):
        take(tmp_path / "gone", out=tmp_path / "out")
    (tmp_path / "a.docx").write_text("x")
    with pytest.raises(UserError, match="neither a folder, an archive nor a picture"):
        take(tmp_path / "a.docx", out=tmp_path / "out")
    with pytest.raises(UserError, match="nothing says where"):
        CollectOptions(folders=(), out=tmp_path)


def test_all_sources_are_remembered_wherever_they_were_named(source, tmp_path: Path, monkeypatch):
    out, more = tmp_path / "out", tmp_path / "more"
    picture(more / "m.png", 9)
    monkeypatch.chdir(tmp_path)
    said = take(Path("source"), out=out)
    assert "4 taken in now, 0 before, 1 left out" in said
    assert (out / "sheet.html").read_text().count("data:image/jpeg") == 8
    said = take(Path("more"), out=out)
    assert "1 taken in now, 0 before" in said
    head = Record(out).head()
    assert head is not None
    assert head.options["folders"] == [str(source), str(more)]
    before = files(out)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    told = Told()
    repeat.run(RepeatOptions(made=out, out=tmp_path / "again"), told)
    assert "all 5 pictures are the same as before, byte by byte" in told.text
    assert files(tmp_path / "again") == before
    assert "came in with other options (--convert)" in take(source, out=out, convert="png")


def test_captions_go_with_what_turns_out_to_be_a_copy(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    picture(folder / "a.png", 1)
    picture(folder / "b.png", 1)
    for name in "ab":
        (folder / f"{name}.txt").write_text(name)
    take(folder, out=out)
    (folder / "a.txt").unlink()
    take(folder, out=out, drop_duplicates="exact")
    assert set(files(out)) == {"b.png", "b.txt"}
