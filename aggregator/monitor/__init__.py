"""The state of an instance at one moment, its faults, and overviews of the things that it works on."""
