"""The whole description of one training run: ``run.toml``."""

from __future__ import annotations

from pydantic import Field

from renma.config._base import Section, opt
from renma.config.adapter import AdapterConfig, Lora
from renma.config.copier import CopierConfig
from renma.config.data import DataConfig
from renma.config.erase import EraseConfig
from renma.config.model import ModelConfig
from renma.config.objective import ObjectiveConfig
from renma.config.optimizer import AdamW, OptimizerConfig
from renma.config.relora import ReLoraConfig
from renma.config.sample import SampleConfig
from renma.config.schedule import Constant, ScheduleConfig
from renma.config.start import StartConfig
from renma.config.stop import StopConfig
from renma.config.train import JudgeConfig, OutputConfig, TrainConfig


class Run(Section):
    """Everything that decides what a run does; two equal runs give equal files."""

    preset: str = opt("")
    """Settings to start from, by memory: sd15-6gb, sd15-8gb, sd15-12gb, sdxl-8gb, sdxl-12gb,
    sdxl-24gb; what is written here wins."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """The base model."""
    data: DataConfig = Field(default_factory=DataConfig)
    """Pictures and captions."""
    adapter: AdapterConfig = Field(default_factory=Lora)
    """What is trained."""
    start: StartConfig = Field(default_factory=StartConfig)
    """What training begins from."""
    optimizer: OptimizerConfig = Field(default_factory=AdamW)
    """How weights move."""
    schedule: ScheduleConfig = Field(default_factory=Constant)
    """How the learning rate changes."""
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    """What the loss looks at."""
    train: TrainConfig = Field(default_factory=TrainConfig)
    """The run."""
    sample: SampleConfig = Field(default_factory=SampleConfig)
    """Previews."""
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    """What to look for afterwards."""
    stop: StopConfig = Field(default_factory=StopConfig)
    """Judging while training, and when it ends by itself."""
    erase: EraseConfig = Field(default_factory=EraseConfig)
    """Concepts that are erased from words alone (LECO)."""
    relora: ReLoraConfig = Field(default_factory=ReLoraConfig)
    """Cycles that are merged into the base (ReLoRA)."""
    copier: CopierConfig = Field(default_factory=CopierConfig)
    """The first stage of a copy-machine LoRA."""
    output: OutputConfig = Field(default_factory=OutputConfig)
    """The LoRA file."""
