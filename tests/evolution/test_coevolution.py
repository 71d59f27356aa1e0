import jax
import jax.numpy as jnp
import numpy as np

from evojax_mtl.evolution.coevolution import attribute, deal


def test_all_members_of_a_group_are_dealt_before_one_comes_again():
    group = jnp.array([0, 1, 0, 2, 0, 1])
    dealt = np.asarray(
        jax.jit(deal, static_argnums=(2, 3))(jax.random.key(0), group, 4, 12)
    )
    assert dealt.shape == (12, 4)
    for number, members in enumerate([{0, 2, 4}, {1, 5}, {3}]):
        size = len(members)
        for begin in range(0, 12, size):
            assert set(dealt[begin : begin + size, number]) == members
    assert not dealt[:, 3].any()
    # each round has an order of its own
    rounds = {tuple(dealt[i : i + 3, 0]) for i in range(0, 12, 3)}
    assert len(rounds) > 1


def test_fitness_is_the_mean_over_the_networks_that_contain_it():
    # four individuals, 0 and 1 of one group, 2 and 3 of another; three networks
    members = jnp.array([[0, 2], [0, 3], [0, 3]])
    used = jnp.array([[True, True], [True, True], [True, False]])
    fitness = jnp.array([0.1, 0.5, 0.9])
    found = attribute(fitness, members, used, jnp.array([0, 0, 1, 1]), 2)
    # 1 is in none and gets the mean of its group, in which 0 is thrice
    np.testing.assert_allclose(found, [0.5, 0.5, 0.1, 0.5], rtol=1e-6)
    nobody = jnp.zeros((3, 2), bool)
    found = attribute(fitness, members, nobody, jnp.array([0, 0, 1, 1]), 2)
    np.testing.assert_allclose(found, 0.5, rtol=1e-6)
