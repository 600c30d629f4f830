"""The schema as text: option manual (Markdown, terminal), kohya table, JSON Schema, taught TOML.

``python -m renma.config.views [FOLDER] [--check]`` writes the pages, or says which are stale.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import tomlkit
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from renma.config.load import models_in
from renma.config.run import Run
from renma.core.errors import UserError, did_you_mean

LEVELS = ("basic", "advanced", "expert")
"""Who needs an option; every view shows them in this order."""
