"""The names of the data of feeds, on this disk and in a store."""
