"""A model that the server has."""

import hashlib
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """A model that is there, as `ollama list` would show it."""

    name: str
    size: int = 3_300_000_000
    context_length: int = 32768
    thinking: bool = False
    family: str = ""
    parameter_size: str = "4.3B"
    quantization: str = "Q4_K_M"

    @property
    def details(self) -> dict[str, Any]:
        family = self.family or self.name.split(":")[0]
        return {
            "parent_model": "",
            "format": "gguf",
            "family": family,
            "families": [family],
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
        }

    @property
    def listed(self) -> dict[str, Any]:
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return {"name": self.name, "model": self.name, "size": self.size, "digest": digest, "details": self.details}
