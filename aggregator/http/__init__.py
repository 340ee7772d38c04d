"""HTTP as other people's servers speak it."""
