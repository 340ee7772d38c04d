"""A plugin that says which options its section may have."""

SECTION_OPTIONS = {"pattern": "what to look for"}
