"""Bundles: open periods, manifests, tar files, and the upload to a store."""
