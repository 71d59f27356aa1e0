"""The benchmark neat: both sides evolve the same kind of graphs by the same rates."""

import pytest

from experiments.benchmarks import neat
from experiments.benchmarks.neat_python import Peer, configure


def test_the_peer_has_our_rates():
    pytest.importorskip("neat")
    config = configure(50, threshold=3.0)
    genome, rates = config.genome_config, neat.RATES
    assert genome.node_add_prob == rates.add_node
    assert genome.conn_add_prob == rates.add_connection
    assert genome.bias_mutate_rate == rates.mutate
    assert genome.bias_mutate_power == rates.deviation
    assert config.reproduction_config.elitism == neat.CONFIG.elites
    assert config.reproduction_config.survival_threshold == 1 - rates.truncation
    assert config.stagnation_config.species_elitism == neat.CONFIG.species_elites
    peer = Peer(config)
    # both begin with the input joined to the output
    assert peer.size() == (2, 1)
    assert neat.CONFIG.initial == 0
    for _ in range(10):
        peer.evolve()
    nodes, edges = peer.size()
    assert nodes > 2
    assert edges > 2 * (nodes - 2)
    assert len(peer.individuals) == 50
