"""Bundles: open periods, manifests, tar files, and their way into a store."""
