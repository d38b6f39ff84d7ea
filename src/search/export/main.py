

if __name__ == "__main__":
    rng = np.random.default_rng()
    image = rng.normal(size=(1, 24, 32, 28)).astype(np.float32)
    label = (image[0] > 1).astype(np.uint8)
    numbers = draw(sample_policy(rng), len(image), rng)
    print(numbers)
    image, label = apply(image, label, numbers, rng)
    print(image.shape, image.dtype, image.mean(), label.shape, label.dtype, label.mean())
