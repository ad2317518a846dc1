"""Fine-grained attacks: which coordinates they change, and that all others stay honest."""

import pytest
import torch
from pydantic import TypeAdapter

from skymask.attacks import ATTACKS, DATA_ATTACKS
from skymask.attacks.coordinates import attacked_coordinates
from skymask.contracts import RequirementError
from skymask.federation.attack import attack
from skymask.federation.train import train, training_data
from skymask.models.flat_parameters import Layout
from skymask.seeds import generator
from skymask.study.experiment import Method
from skymask.study.methods import Attack
from skymask.study.registry import options
from tests.support.federations import carried, federation, same_bits

LAYOUT = Layout(("a.weight", "a.bias", "b.weight"), ((2, 3), (2,), (4,)))
FLAGS = torch.tensor([False, True, False])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def chosen(updates, seed=0, malicious=FLAGS, **wanted):
    return attacked_coordinates(updates, malicious, LAYOUT, seeded(seed), **wanted)


# --- which coordinates --------------------------------------------------------------------------


@pytest.mark.parametrize("pick", ["random", "largest"])
@pytest.mark.parametrize(
    ("share", "count"), [(1.0, 12), (0.5, 6), (0.26, 3), (0.1, 1), (0.01, 1), (0.99, 12)]
)
def test_a_share_is_that_many_coordinates_and_at_least_one(pick, share, count):
    updates = torch.randn(3, 12, generator=seeded())
    found = chosen(updates, share=share, pick=pick)
    assert found.shape == (12,)
    assert found.dtype == torch.bool
    assert int(found.sum()) == count


def test_the_largest_are_those_of_the_benign_mean():
    updates = torch.zeros(3, 12)
    updates[0, [2, 5, 7]] = torch.tensor([4.0, -6.0, 1.0])
    updates[2, [2, 5, 7]] = torch.tensor([-3.0, -6.0, 1.0])  # means 0.5, −6, 1
    updates[1, [0, 1]] = 100.0  # an attacker's own
    before = updates.clone()
    assert torch.nonzero(chosen(updates, share=1 / 12, pick="largest")).flatten().tolist() == [5]
    assert torch.nonzero(chosen(updates, share=2 / 12, pick="largest")).flatten().tolist() == [5, 7]
    found = chosen(updates, share=4 / 12, pick="largest")
    # of equals the first
    assert torch.nonzero(found).flatten().tolist() == [0, 2, 5, 7]
    assert updates.equal(before)


def test_random_coordinates_depend_on_the_generator_only():
    one, other = torch.zeros(3, 12), torch.randn(3, 12, generator=seeded(1))
    assert chosen(one, share=0.5).equal(chosen(other, share=0.5))
    draws = torch.stack([chosen(one, seed, share=0.5) for seed in range(200)])
    # every coordinate about half of the time
    assert (draws.double().mean(dim=0) - 0.5).abs().max() < 0.15


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (["a.weight"], range(6)),
        (["a.bias"], range(6, 8)),
        (["b.weight", "a.bias"], range(6, 12)),
        (["a.weight", "a.bias", "b.weight"], range(12)),
    ],
)
def test_layers_are_all_their_coordinates(layers, expected):
    found = chosen(torch.zeros(3, 12), layers=layers)
    assert torch.nonzero(found).flatten().tolist() == list(expected)


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({}, "give either a share or layers"),
        ({"share": 0.5, "layers": ["a.bias"]}, "give either a share or layers"),
        ({"share": 0.0}, r"share must lie in \(0, 1\]"),
        ({"share": 1.5}, r"share must lie in \(0, 1\]"),
        ({"layers": []}, "one or more names"),
        ({"layers": ["a.bias", "a.bias"]}, "one or more names"),
        ({"layers": [["a.bias"]]}, "one or more names"),
        ({"layers": ["a.bias"], "pick": "largest"}, "pick chooses among a share"),
    ],
)
def test_contradictory_choices_of_coordinates_are_refused(wanted, sentence):
    with pytest.raises(RequirementError, match=sentence):
        chosen(torch.zeros(3, 12), **wanted)


def test_an_unknown_layer_is_refused_with_the_models_layers():
    with pytest.raises(ValueError, match=r"no layer 'c'; its layers are a\.weight, a\.bias, b\.w"):
        chosen(torch.zeros(3, 12), layers=["a.bias", "c"])


def test_the_chosen_coordinates_are_on_the_device_of_the_updates(device):
    for wanted in ({"share": 0.5}, {"share": 0.5, "pick": "largest"}, {"layers": ["a.bias"]}):
        updates, flags = torch.randn(3, 12, generator=seeded()).to(device), FLAGS.to(device)
        found = chosen(updates, malicious=flags, **wanted)
        assert found.device.type == device
        assert found.cpu().equal(chosen(updates.cpu(), **wanted))


# --- in a run -----------------------------------------------------------------------------------


def in_a_run(name, **coordinates):
    """An attack confined to ``coordinates``, with its defaults, as a study reads it."""
    parameters = {"patch": 3} if name in ("scaling", "lie_backdoor") else {}
    value = {"name": name, "coordinates": coordinates, **parameters}
    (method,) = TypeAdapter(Attack).validate_python(value)
    return federation(attack=method, malicious=2, clients=8)


def places(parties, updates):
    """The coordinates that the attack of a run may change, bool [d]."""
    run, layout = parties.experiment, parties.model.layout
    source = generator(run.training_seed, "attacked coordinates")
    wanted = run.attack.parameters["coordinates"]
    return attacked_coordinates(updates, parties.malicious, layout, source, **wanted)


def sent(parties, round_=1):
    """Honest updates and those that are sent."""
    start = parties.initial_parameters()
    honest = train(parties, training_data(parties), start, round_).updates
    return honest, attack(parties, honest, start, {}, round_)[0]


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"none"}))
@pytest.mark.parametrize(
    "coordinates", [{"share": 0.2}, {"share": 0.2, "pick": "largest"}, {"layers": ["1.bias"]}]
)
def test_outside_the_chosen_coordinates_every_update_is_honest_to_the_bit(name, coordinates):
    parties = in_a_run(name, **coordinates)
    honest, attacked = sent(parties)
    inside = places(parties, honest)
    assert int(inside.sum()) == (130 if "share" in coordinates else 10)  # of 650
    assert same_bits(attacked[:, ~inside], honest[:, ~inside])
    assert same_bits(attacked[~parties.malicious], honest[~parties.malicious])
    # the crash test spoils few coordinates, and they may lie outside
    if name != "non_finite":
        changed = (attacked != honest)[parties.malicious][:, inside]
        assert changed.any(dim=1).all()


def test_inside_the_chosen_coordinates_it_is_the_attack_itself():
    parties, whole = in_a_run("min_max", share=0.3), in_a_run("min_max", share=1.0)
    honest, attacked = sent(parties)
    _, everywhere = sent(whole)
    _, plain = sent(federation(attack=Method("min_max"), malicious=2, clients=8))
    assert same_bits(everywhere, plain)
    inside = places(parties, honest)
    assert int(inside.sum()) == 195
    assert same_bits(attacked[:, inside], plain[:, inside])
    assert not attacked.equal(plain)


def test_the_drawn_coordinates_are_those_of_the_run_in_every_round():
    def changed(parties, round_):
        honest, attacked = sent(parties, round_)
        return (attacked != honest).any(dim=0)

    # noise hits no coordinate of an honest update
    parties = in_a_run("gaussian", share=0.1)
    first = changed(parties, 1)
    assert int(first.sum()) == 65
    assert all(changed(parties, round_).equal(first) for round_ in (2, 3, 9))
    other = federation(attack=parties.experiment.attack, malicious=2, clients=8, training_seed=2)
    assert not changed(other, 1).equal(first)


def test_a_run_keeps_no_state_for_its_coordinates():
    parties = in_a_run("sign_flip", share=0.1)
    whole, _ = carried(parties, range(1, 4))
    half, _ = carried(in_a_run("sign_flip", share=0.1), range(1, 2))
    again, _ = carried(in_a_run("sign_flip", share=0.1), range(2, 4), half)
    assert same_bits(again.global_parameters, whole.global_parameters)


# --- what a study knows -------------------------------------------------------------------------


def test_attacks_on_data_alone_and_no_attack_have_no_coordinates():
    on_updates = {n for n in {*ATTACKS, *DATA_ATTACKS} if "coordinates" in options("attack", n)}
    assert on_updates == set(ATTACKS) - {"none"}
