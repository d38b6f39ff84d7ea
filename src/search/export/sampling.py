# Values of each searched number and the probability of each value.
VARIABLES = {
{%- for variable in variables %}
    "{{ variable.name }}": (
{{ variable.values }}
{{ variable.probabilities }}
    ),
{%- endfor %}
}

# The numbers that are the same in every policy.
FIXED = {
{%- for number in fixed %}
    "{{ number.name }}": {{ number.value }},
{%- endfor %}
}

# True: exactly one transform a sample, in proportion to the probabilities (TrivialAugment).
ONE_OF = {{ "True" if one_of else "False" }}

# Whether each axis is mirrored with probability 0.5.
MIRROR = ({% for on in mirror %}{{ "True" if on else "False" }}{{ ", " if not loop.last }}{% endfor %})

# Whether voxels that are 0 in all channels (outside the mask of the normalisation) are set back
# to 0 after gamma.
KEEP_ZERO = {{ "True" if keep_zero else "False" }}


def sample_policy(rng):
    """Draws a policy: a number for each left bound, right bound and probability."""
    policy = dict(FIXED)
    for name, (values, probabilities) in VARIABLES.items():
        policy[name] = values[rng.choice(len(values), p=probabilities)]
    return policy


def switches(policy, rng):
    """Which transforms a sample gets, by name."""
    names = ["elastic", "rotation", "scale", "gamma"]
    probabilities = np.array([policy[f"p_{name}"] for name in names])
    if ONE_OF:
        chosen = rng.choice(names, p=probabilities / probabilities.sum())
        return {name: name == chosen for name in names}
    return {name: bool(rng.random() < p) for name, p in zip(names, probabilities)}
