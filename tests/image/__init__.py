"""The image, built and run without Docker: `make test-image`."""
