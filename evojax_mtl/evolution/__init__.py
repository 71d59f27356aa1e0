"""Evolution: how genomes are selected, crossed and mutated."""
