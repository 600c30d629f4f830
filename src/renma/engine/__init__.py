"""Parts put together: a model with adapters, caches, sampling."""
