"""The messages of the stages of feeds: one struct for each kind."""
