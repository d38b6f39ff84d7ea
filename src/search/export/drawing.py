

def draw(policy, channels, rng):
    """Draws one sample's numbers from a policy; None for a transform that is not applied."""

    def within(name):
        return float(rng.uniform(policy[f"{name}_low"], policy[f"{name}_high"]))

    def around_one(name):
        # Below or above 1 with equal chances, except where the whole range counts as one.
        low, high = policy[f"{name}_low"], policy[f"{name}_high"]
        if ONE_OF or low >= 1 or high < 1:
            return float(rng.uniform(low, high))
        return float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, high))

    on = switches(policy, rng)
    numbers = {
        "elastic": {"alpha": within("elastic_alpha"), "sigma": within("elastic_sigma")},
        "rotation": [within(f"rotation_{axis}") for axis in "xyz"],
        "scale": around_one("scale"),
        "gamma": [around_one("gamma") for _ in range(channels)],
    }
    numbers = {name: value if on[name] else None for name, value in numbers.items()}
    numbers["mirror"] = [bool(rng.random() < 0.5 and allowed) for allowed in MIRROR]
    return numbers


def augment(image, label, rng=None):
    """Augments one sample by a policy drawn for it.

    image: float array (C, D, H, W), normalised; label: integer array (D, H, W). rng: a seed or a
    numpy Generator. Gives new arrays of the same shapes and types.
    """
    rng = np.random.default_rng(rng)
    numbers = draw(sample_policy(rng), len(image), rng)
    return apply(image, label, numbers, rng)
