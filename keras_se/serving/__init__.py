"""Export: files that classify images without this package."""
