"""evojax_mtl: evolutionary multitask architecture search in JAX."""
