"""The objects that generated code refers to, under names of their own: functions, patterns, sets."""

from __future__ import annotations


class Constants:
    """Collects objects under the names k0, k1, ...; one object has one name."""

    def __init__(self) -> None:
        self.namespace: dict[str, object] = {}
        # By identity; the namespace keeps the objects alive, so that an identity is never used again.
        self._names: dict[int, str] = {}

    def name_of(self, value: object) -> str:
        """The name under which generated code finds the object."""
        name = self._names.get(id(value))
        if name is None:
            name = f"k{len(self.namespace)}"
            self._names[id(value)] = name
            self.namespace[name] = value
        return name
