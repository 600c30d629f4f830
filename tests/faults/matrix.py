"""The fault matrix: what may go wrong, what renma promises then, and which tests prove it.

``python tests/faults/matrix.py`` prints what to run, for ``pytest $(...)``; with ``--table`` the table
of ``docs/reliability.md``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

KINDS = {
    "A": "the run goes on and its result is right",
    "B": "the run stops with one line that says what and where; what is on disk is whole",
    "C": "refused before training starts",
}


@dataclass(frozen=True)
class Promise:
    """One row.

    Attributes:
        id: number of the fault.
        fault: what happens.
        kind: letters of :data:`KINDS`.
        promise: what renma does then.
        proofs: node ids of tests, without parameters.
    """

    id: str
    fault: str
    kind: str
    promise: str
    proofs: tuple[str, ...]


def _in(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"tests/{file}.py::{name}" for name in names)


MATRIX = (
    Promise(
        "F1", "killed at any moment of saving", "A",
        "the last good state is there, whole; the next start removes what is half written",
        _in(
            "faults/test_storage", "test_killed_at_every_moment_of_saving_a_state",
            "test_killed_at_every_moment_of_saving_a_checkpoint", "test_cut_off_at_any_length",
            "test_only_what_killed_writers_left_is_swept",
            "test_a_resumed_run_begins_in_a_clean_folder",
        ),
    ),
    Promise(
        "F2", "killed while old files are removed", "A",
        "the newest stay; an old one goes only after the new one is there",
        _in("faults/test_storage", "test_killed_at_every_moment_of_saving_a_checkpoint",
            "test_nothing_is_removed_when_the_new_one_could_not_be_written")
        + _in("train/test_retention", "test_the_newest_stay_and_later_ones_are_not_touched",
              "test_of_states_later_ones_go_first",
              "test_a_run_keeps_its_newest_checkpoints_and_states"),
    ),
    Promise(
        "F3", "power loss", "A", "a file has its name only after its bytes are on the disk",
        _in("faults/test_storage", "test_a_name_becomes_durable_only_after_its_bytes")
        + _in("core/test_core", "test_write_syncs_file_before_name_and_folder_after"),
    ),
    Promise(
        "F4", "disk full", "A/B",
        "log, previews, checkpoints: told once each time, the run goes on and tries again; the last "
        "file: one line with the missing bytes, the state before it stays",
        _in("faults/test_disk",
            "test_a_run_goes_on_beside_a_full_disk_and_saves_when_there_is_room",
            "test_a_disk_full_to_the_end_is_told_and_leaves_the_last_good_state",
            "test_a_run_outlives_a_disk_that_takes_nothing_at_all",
            "test_events_that_do_not_fit_are_told_once_and_counted",
            "test_a_log_on_a_full_disk_ends_nothing")
        + _in("train/test_previews", "test_a_failure_is_said_once_and_the_next_time_is_tried_again")
        + _in("train/test_retention", "test_too_little_room_is_told_with_what_is_missing",
              "test_a_run_that_will_not_fit_is_told_before_its_first_step"),
    ),
    Promise(
        "F5", "folder read-only, a file, or gone", "C/B",
        "tried out before the start; if it goes away later it is made again, or one line ends the run",
        _in("faults/test_disk",
            "test_a_file_in_place_of_a_folder_is_refused_before_the_start",
            "test_a_file_in_place_of_the_run_is_refused",
            "test_a_folder_without_the_right_to_write_is_refused_before_the_start",
            "test_a_folder_that_vanishes_is_made_again",
            "test_a_file_that_takes_the_folders_place_ends_the_run_with_a_word",
            "test_other_errors_of_the_disk_name_the_file"),
    ),
    Promise(
        "F6", "Ctrl-C, SIGTERM, SIGUSR1", "B",
        "the step ends, the state is saved, exit code 130 or 143; a second Ctrl-C ends at once; "
        "SIGUSR1 saves and goes on",
        _in("train/test_resume",
            "test_a_signal_ends_after_the_step_and_resume_gives_the_same_bytes")
        + _in("cli/test_commands", "test_exit_code_and_the_one_line")
        + _in("faults/test_signals",
              "test_a_second_ctrl_c_ends_at_once_and_what_was_saved_is_whole",
              "test_usr1_saves_a_state_and_goes_on",
              "test_the_signals_are_noted_and_given_back"),
    ),
    Promise(
        "F7", "a signal while saving, caching, drawing", "B",
        "a save is finished; what is cached stays cached; exit code 143",
        _in("faults/test_signals", "test_term_during_a_save_lets_it_finish",
            "test_term_during_caching_ends_at_once_and_keeps_what_is_cached",
            "test_term_while_drawing_saves_and_leaves",
            "test_before_the_loop_term_leaves_and_usr1_does_not"),
    ),
    Promise(
        "F8", "killed, then continued", "A",
        "the same file to the last bit, on the same machine, versions and threads",
        _in("faults/test_kill_trials", "test_killed_and_continued", "test_the_trials_could_fail")
        + _in("faults/test_stop_killed", "test_killed_at_any_file_event",
              "test_killed_in_the_middle_of_judging")
        + _in("train/test_resume", "test_resume_is_bit_identical")
        + _in("optimizers/test_state", "test_ten_steps_are_five_saved_loaded_and_five"),
    ),
    Promise(
        "F9", "continued again, from any step, longer, after the end", "A",
        "steps count over all sessions; a finished run says that nothing is to do",
        _in("train/test_resume", "test_resumed_from_any_step_and_again_from_the_next",
            "test_stopped_again_and_again", "test_a_longer_run_is_that_run",
            "test_a_shorter_rest_than_planned_ends_where_it_is_told",
            "test_counters_come_back_whole")
        + _in("faults/test_disk", "test_curves_of_a_killed_run_are_drawn_once")
        + _in("train/test_going_on", "test_finished_run_has_nothing_to_do",
              "test_fewer_steps_than_done_are_refused_and_a_lost_file_comes_back"),
    ),
    Promise(
        "F10", "continued with other options, pictures or models", "C",
        "each change is listed, old and new, and refused unless --allow-change names it",
        _in("train/test_changes",
            "test_what_decides_the_training_is_refused_until_it_is_allowed",
            "test_what_the_saved_numbers_are_made_for_cannot_be_allowed",
            "test_an_allowed_change_is_told_in_the_events_and_has_effect",
            "test_a_project_that_was_moved_goes_on_to_the_same_bytes",
            "test_a_run_moved_alone_goes_on_with_its_first_run_toml")
        + _in("train/test_going_on", "test_resume_refuses_changed_pictures",
              "test_another_base_model_is_noticed_on_resume")
        + _in("train/test_resume", "test_a_changed_base_lora_is_noticed"),
    ),
    Promise(
        "F11", "state damaged, missing, of another version", "A/B",
        "told by name, the state before it is used; if none is whole, one line and nothing is lost",
        _in("faults/test_damage", "test_a_damaged_state_is_told_and_the_one_before_is_used",
            "test_a_missing_newest_state_is_made_up_for",
            "test_nothing_whole_is_refused_by_name_and_nothing_is_lost",
            "test_no_state_at_all_starts_anew_and_says_so",
            "test_a_damaged_run_toml_is_refused_by_name",
            "test_a_log_full_of_holes_is_read_around")
        + _in("formats/test_state", "test_every_single_bit_counts"),
    ),
    Promise(
        "F12", "loss, gradient or weights are NaN", "A/B",
        "the step is skipped and named; many in a row end the run; good files are never replaced",
        _in("train/test_steps", "test_a_nan_step_leaves_weights_and_optimizer_alone_and_is_counted",
            "test_single_nan_steps_do_not_add_up", "test_two_nan_steps_in_a_row_do")
        + _in("train/test_train", "test_nan_steps_are_skipped_named_and_end_the_run",
              "test_what_does_not_fit_fp16_is_not_lost")
        + _in("faults/test_damage", "test_weights_that_are_no_numbers_never_replace_good_ones"),
    ),
    Promise(
        "F13", "the VAE turns a picture into NaN", "C", "the picture is named, nothing is cached",
        _in("faults/test_caches", "test_a_picture_that_becomes_nan_is_named_and_not_cached"),
    ),
    Promise(
        "F14", "killed while caching", "A", "every finished entry is used again",
        _in("faults/test_caches", "test_killed_while_caching_goes_on_where_it_was")
        + _in("core/test_core", "test_parts_of_killed_writers_leave_the_cache_after_a_day"),
    ),
    Promise(
        "F15", "cache entry cut, flipped, empty, foreign", "A", "made anew, told once",
        _in("faults/test_caches", "test_damaged_entries_are_made_anew_with_one_word"),
    ),
    Promise(
        "F16", "picture, caption, model or option changed behind a cache", "A",
        "another entry: the key is a hash of all that decides the content",
        _in("faults/test_caches", "test_an_edited_picture_is_seen_whatever_its_size_and_time")
        + _in("engine/test_caches", "test_a_key_hangs_on_each_thing_that_makes_other_latents",
              "test_a_key_hangs_on_the_vae", "test_another_background_is_another_entry"),
    ),
    Promise(
        "F17", "two processes, one cache", "A", "both finish; no entry is read half written",
        _in("faults/test_caches", "test_two_runs_fill_one_cache_at_once"),
    ),
    Promise(
        "F18", "two runs, one folder", "C", "the second is refused; a dead one blocks nothing",
        _in("train/test_saving",
            "test_a_folder_in_use_is_refused_and_one_left_by_a_dead_process_is_taken")
        + _in("train/test_train", "test_second_run_into_a_folder_is_refused"),
    ),
    Promise(
        "F19", "broken pictures", "C", "found before the start: named, or skipped and counted",
        _in("data/test_pictures", "test_broken_files_are_named_in_one_line",
            "test_cut_off_jpeg_is_named")
        + _in("data/test_picture_traps", "test_damaged_bytes_give_pixels_or_one_line",
              "test_cut_off_pictures_are_found_before_the_run")
        + _in("data/test_folder", "test_broken_picture_stops_or_is_skipped_and_named"),
    ),
    Promise(
        "F20", "turned by EXIF", "A", "turned before it is measured",
        _in("data/test_pictures", "test_exif_orientation")
        + _in("data/test_picture_traps", "test_size_and_pixels_are_turned_alike"),
    ),
    Promise(
        "F21", "grey, CMYK, 16 bits, float, profiles, transparency", "A",
        "converted as documented; what cannot be is refused by name",
        _in("data/test_pictures", "test_other_transparent_modes", "test_deep_grey_keeps_its_mean",
            "test_plain_modes_equal_pillows_own_conversion", "test_colour_profile_is_applied",
            "test_transparent_parts_show_the_background_and_not_what_lies_under_them")
        + _in("data/test_picture_traps",
              "test_grey_of_unknown_range_is_refused_instead_of_going_black"),
    ),
    Promise(
        "F22", "animated pictures", "A", "the first frame, and a word about it",
        _in("data/test_pictures", "test_animation_gives_its_first_frame")
        + _in("data/test_picture_traps", "test_animation_is_told"),
    ),
    Promise(
        "F23", "decompression bombs", "C", "refused from the header",
        _in("data/test_pictures", "test_bomb_is_refused_from_its_header")
        + _in("data/test_picture_traps", "test_only_our_own_limit_speaks"),
    ),
    Promise(
        "F24", "tiny, thin or huge pictures", "A/C", "cropped and enlarged by rule, or named",
        _in("data/test_fitting", "test_a_strip_costs_no_more_than_its_bucket",
            "test_the_picture_that_does_not_fit_is_named", "test_extremes_are_cropped_by_rule"),
    ),
    Promise(
        "F25", "odd file names", "A", "found, paired with their captions, shown safely",
        _in("data/test_folder", "test_strange_names")
        + _in("data/test_folder_traps", "test_what_is_told_can_be_written_anywhere",
              "test_a_caption_in_capital_ending_or_decomposed_name_is_found"),
    ),
    Promise(
        "F26", "two pictures of one stem", "A", "two pictures; the shared caption is told",
        _in("faults/test_caches", "test_same_stem_twice_are_two_pictures_and_told"),
    ),
    Promise(
        "F27", "link loops, unreadable and vanishing files", "A/B",
        "named and passed over; what is cached is trained on, what is not ends the run by name",
        _in("data/test_folder_traps", "test_animations_and_dead_links_are_told")
        + _in("faults/test_caches", "test_a_picture_that_vanishes_is_trained_from_the_cache",
              "test_a_picture_that_vanishes_and_is_not_cached_ends_the_run_by_name"),
    ),
    Promise(
        "F28", "captions empty, missing, in other encodings", "A/C",
        "read and told, or refused by name; an empty one only where it is allowed",
        _in("data/test_folder", "test_caption_encodings", "test_no_text_is_refused",
            "test_empty_caption_file")
        + _in("data/test_folder_traps", "test_files_without_a_caption_are_refused_by_name"),
    ),
    Promise(
        "F29", "duplicate pictures", "A",
        "equal files are named before the start; `renma prepare lint` finds near copies too, and "
        "`collect` leaves them out when asked",
        _in("prepare/test_lint", "test_copies_name_the_one_to_keep")
        + _in("prepare/test_collect", "test_copies_are_dropped_when_asked")
        + _in("prepare/test_hashes", "test_near_pairs_are_the_copies_and_nothing_else"),
    ),
    Promise(
        "F30", "typing mistakes in options", "C", "file, line, key, and the nearest known name",
        _in("config/test_load", "test_mistakes", "test_mistakes_in_set_are_found_there",
            "test_mistakes_in_a_data_set_file"),
    ),
    Promise(
        "F31", "nothing to train on, or too little for the processes", "C", "refused by name",
        _in("data/test_folder", "test_mistakes_with_folders", "test_nothing_given")
        + _in("train/test_processes", "test_batches_that_cannot_be_dealt_out_are_refused"),
    ),
    Promise(
        "F32", "too little memory", "A/B",
        "half as many pictures are encoded at once; a step or a picture that does not fit ends the "
        "run with one line of advice, and what was saved stays; a preview is left out",
        _in("faults/test_memory", "test_pictures_are_encoded_by_half_as_many",
            "test_a_picture_that_memory_is_too_small_for_is_named",
            "test_training_that_finds_no_memory_ends_with_advice",
            "test_other_errors_are_not_taken_for_it")
        + _in("train/test_previews", "test_a_failure_is_said_once_and_the_next_time_is_tried_again"),
    ),
    Promise(
        "F33", "a process that loads data is killed", "A",
        "there is none: a run reads its pictures itself",
        _in("faults/test_surroundings", "test_a_run_starts_no_process_that_could_be_killed"),
    ),
    Promise(
        "F34", "one of several processes dies", "B",
        "the others end at once with one line; started again, by hand or by torchrun, they end in "
        "the same bytes",
        _in("faults/test_processes",
            "test_when_one_process_dies_the_others_end_and_the_run_goes_on",
            "test_a_process_that_dies_while_it_encodes_is_not_waited_for"),
    ),
    Promise(
        "F35", "another number of processes when it goes on", "A",
        "the same samples and noise in the same steps; the batches of a step stay",
        _in("faults/test_processes", "test_the_number_of_processes_may_change_in_between")
        + _in("train/test_processes",
              "test_two_processes_are_one_with_the_same_batches_and_the_number_may_change"),
    ),
    Promise(
        "F36", "the clock jumps", "A", "nothing trained or saved depends on it",
        _in("faults/test_surroundings", "test_a_clock_that_jumps_changes_nothing"),
    ),
    Promise(
        "F37", "nobody reads any more, or the terminal is closed", "A/B",
        "without a reader the run goes on and keeps its log; SIGHUP saves and leaves, under nohup "
        "it changes nothing",
        _in("faults/test_surroundings", "test_a_run_goes_on_when_nobody_reads_it",
            "test_a_closed_terminal_saves_the_state", "test_nohup_goes_on"),
    ),
    Promise(
        "F38", "files that others cannot read", "A", "modes follow the umask",
        _in("faults/test_disk", "test_files_can_be_read_by_whom_the_umask_lets")
        + _in("core/test_core", "test_written_files_follow_the_umask"),
    ),
    Promise(
        "F39", "a save is still running when the next begins, or the run ends", "A",
        "there is none: a save is over before the next step",
        _in("faults/test_storage", "test_a_save_is_over_before_the_next_step_begins"),
    ),
    Promise(
        "F40", "no network", "A", "a run asks nobody",
        _in("faults/test_surroundings", "test_a_run_asks_nobody"),
    ),
)  # fmt: skip
"""Every promise that is kept."""

DUE = tuple(f"F{number}" for number in range(1, 41))
"""The promises that must not be missing."""


def proofs() -> list[str]:
    """Returns the node ids of all tests, each once, in the order of the matrix."""
    return list(dict.fromkeys(proof for row in MATRIX for proof in row.proofs))


def to_run() -> list[str]:
    """Returns this folder and the node ids of the proofs that lie elsewhere."""
    return ["tests/faults", *(p for p in proofs() if not p.startswith("tests/faults/"))]


def table() -> str:
    """Returns the promises as a Markdown table."""
    rows = ["| | what happens | promise | |", "|---|---|---|---|"]
    rows += [f"| {row.id} | {row.fault} | {row.promise} | {row.kind} |" for row in MATRIX]
    return "\n".join(rows)


def results(outcomes: dict[str, str]) -> list[str]:
    """Returns a line for each promise: its id, its class, how many of its tests passed.

    Args:
        outcomes: node id, with parameters, to ``passed``, ``failed`` or ``skipped``.
    """
    lines = []
    ran = {node.partition("[")[0] for node in outcomes}
    for row in MATRIX:
        found = [word for node, word in outcomes.items() if node.partition("[")[0] in row.proofs]
        absent = sum(proof not in ran for proof in row.proofs)
        said = [f"{found.count(word)} {word}" for word in ("passed", "failed", "skipped")]
        said += [f"{absent} not run here"]
        counts = ", ".join(text for text in said if not text.startswith("0 "))
        lines.append(f"{row.id:4} {row.kind:4} {_word(found, absent):9} {row.fault} ({counts})")
    return lines


def _word(outcomes: list[str], absent: int) -> str:
    if "failed" in outcomes:
        return "BROKEN"
    if "passed" not in outcomes:
        return "not run"
    return "in part" if absent else "kept"


if __name__ == "__main__":
    print(table() if "--table" in sys.argv else "\n".join(to_run()))
