"""Image encoders, text encoders and dual encoders behind declared contracts."""
