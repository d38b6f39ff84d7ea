

def grid_rotation(numbers):
    """The rotation of the sampling grid, for column vectors about the middle.

    Angle x turns in the plane of H and W, y of D and W, z of D and H; x acts first. The angles
    are those of the sampling grid, so the content turns the other way.
    """
    x, y, z = numbers["rotation"] or (0.0, 0.0, 0.0)
    return Rotation.from_euler("ZYX", [-z, -y, -x], degrees=True)


def one_hot(label):
    """The labels that occur, 0 first, and an indicator (K - 1, D, H, W) of each but 0."""
    values = np.union1d(label, [0])
    indicators = [label == value for value in values[1:]] or [np.zeros(label.shape)]
    return values, np.stack(indicators).astype(np.float32)


def most_present(values, indicators):
    """The label of the largest interpolated indicator; 0 is what the others leave."""
    rest = 1 - indicators.sum(axis=0, keepdims=True)
    return values[np.concatenate([rest, indicators])[: len(values)].argmax(axis=0)]


def restore_zero(result, image):
    """Sets voxels that were 0 in all channels before gamma back to 0."""
    if KEEP_ZERO:
        result[:, (image == 0).all(axis=0)] = 0
    return result
