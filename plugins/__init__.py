"""Your own modules live here, next to the worked example `accesslog` and PIRUS2's `default_utils`."""
