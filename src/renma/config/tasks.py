"""The table of tasks: one row is a command, a form and a manual page.

A task is a function ``run(options, report)`` in the module named by ``room``; this table knows the
name only, so that listing tasks imports none of them.
"""

from __future__ import annotations

from renma.config._task import Task
from renma.config.caption.tasks import CAPTION_TASKS
from renma.config.prepare.tasks import PREPARE_TASKS

TASKS: tuple[Task, ...] = (
    Task(
        "demo",
        "renma.cli.demo",
        "renma.config.run_tasks:DemoOptions",
        "Show everything at once: pictures, training, grid, report. Minutes, no downloads.",
        "renma demo --out demo",
    ),
    Task(
        "init",
        "renma.use.init",
        "renma.config.run_tasks:InitOptions",
        "Make a folder for your pictures, with a run.toml that explains itself.",
        "renma init mine --sample character",
    ),
    *PREPARE_TASKS,
    *CAPTION_TASKS,
    Task(
        "check",
        "renma.train.check",
        "renma.config.run_tasks:CheckOptions",
        "Show the plan before a step is taken: pictures, buckets, steps, time, memory, mistakes.",
        "renma check mine/run.toml",
    ),
    Task(
        "plan memory",
        "renma.train.memory_plan",
        "renma.config.run_tasks:MemoryOptions",
        "Weigh every algorithm before training: parameters, gradients, state, activations.",
        "renma plan memory mine/run.toml --ranks 4 --ranks 32",
    ),
    Task(
        "plan layers",
        "renma.train.layer_plan",
        "renma.config.run_tasks:LayersOptions",
        "Show the model's blocks and layers: their sizes, what is trained of them, rank and rate.",
        "renma plan layers mine/run.toml --set adapter.blocks.up_rates=sine",
    ),
    Task(
        "train",
        "renma.cli.train",
        "renma.config.run_tasks:TrainOptions",
        "Train the LoRA. Ctrl-C saves; --resume goes on.",
        "renma train mine/run.toml --set adapter.rank=8",
    ),
    Task(
        "erase",
        "renma.cli.erase",
        "renma.config.run_tasks:TrainOptions",
        "Erase or strengthen a concept from words alone, without pictures (LECO).",
        "renma erase mine/run.toml",
    ),
    Task(
        "grid",
        "renma.judge.grid",
        "renma.config.grid_task:GridOptions",
        "Draw grids: every checkpoint at several LoRA weights, or any axes that you name.",
        "renma grid mine/runs/001 --x 'weight=0-1(+0.25)' --y checkpoint=all -o grid.html",
    ),
    Task(
        "judge",
        "renma.judge.score",
        "renma.config.judge_task:JudgeOptions",
        "Measure likeness and leakage of every checkpoint and name the best.",
        "renma judge mine/runs/001",
    ),
    Task(
        "absorbed",
        "renma.judge.absorbed",
        "renma.config.absorbed_task:AbsorbedOptions",
        "Tell which tags the trigger absorbed, which still answer, which changed their meaning.",
        "renma absorbed mine/runs/001 --tags 'pink hair'",
    ),
    Task(
        "blocks",
        "renma.judge.blocks",
        "renma.config.blocks_task:BlocksOptions",
        "Show what each block of a LoRA does to the picture, and which could be left out.",
        "renma blocks mine/runs/001",
    ),
    Task(
        "report",
        "renma.judge.report",
        "renma.config.run_tasks:ReportOptions",
        "Put settings, curves, samples, grid and verdict into one HTML file.",
        "renma report mine/runs/001",
    ),
    Task(
        "sample",
        "renma.use.generate",
        "renma.config.sample_task:SampleOptions",
        "Draw pictures: LoRAs, AND, regions, a second pass; each PNG says how it was drawn.",
        "renma sample mame --prompt smile --count 4 -o pictures",
    ),
    Task(
        "studio",
        "renma.studio",
        "renma.config.studio_task:StudioOptions",
        "Open every room in the browser: pictures, training, judging, files.",
        "renma studio projects",
    ),
    Task(
        "import-kohya",
        "renma.compat.import_kohya",
        "renma.config.compat_tasks:ImportKohyaOptions",
        "Turn a command, config file or preset of kohya-ss/sd-scripts into a run.toml.",
        "renma import-kohya train.sh -o mine/run.toml --report",
    ),
    Task(
        "file show",
        "renma.use.show",
        "renma.config.file_tasks:ShowOptions",
        "Show what a LoRA file is: algorithm, ranks, layers, strength by block, metadata, tags.",
        "renma file show lora.safetensors",
    ),
    Task(
        "file edit",
        "renma.use.edit",
        "renma.config.file_tasks:EditOptions",
        "Change or remove metadata; the weights stay as they are.",
        "renma file edit lora.safetensors --set modelspec.title=Mine --remove 'ss_tag*'",
    ),
    Task(
        "file verify",
        "renma.use.verify",
        "renma.config.file_tasks:VerifyOptions",
        "Check that a file is whole, safe, finite and fits a model.",
        "renma file verify lora.safetensors",
    ),
    Task(
        "file convert",
        "renma.use.convert",
        "renma.config.file_tasks:ConvertOptions",
        "Write a LoRA in another naming, or in a form that other programs can load.",
        "renma file convert lora.safetensors out.safetensors --to diffusers",
    ),
    Task(
        "file merge",
        "renma.use.merge",
        "renma.config.file_tasks:MergeOptions",
        "Add LoRAs up into one, or into a model; the sum is exact unless a rank is given.",
        "renma file merge a.safetensors:0.7 b.safetensors:0.4 -o both.safetensors",
    ),
    Task(
        "file resize",
        "renma.use.resize",
        "renma.config.file_tasks:ResizeOptions",
        "Give a LoRA the best approximation of another rank.",
        "renma file resize lora.safetensors small.safetensors --rank 8",
    ),
    Task(
        "file extract",
        "renma.use.extract",
        "renma.config.file_tasks:ExtractOptions",
        "Make a LoRA of the difference between two models.",
        "renma file extract base tuned difference.safetensors --rank 32",
    ),
    Task(
        "file cut",
        "renma.use.cut",
        "renma.config.file_tasks:CutOptions",
        "Take a smaller rank out of a DyLoRA file.",
        "renma file cut dylora.safetensors rank4.safetensors --rank 4",
    ),
)
"""Every task, in the order of the work."""
