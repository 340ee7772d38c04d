"""The parts of `filter`: downloads, publications, rejected bodies, and the state of each feed."""
