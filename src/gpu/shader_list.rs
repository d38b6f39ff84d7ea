sources![
    "gamma/apply",
    "gamma/finish",
    "gamma/reduce",
    "noise/uniform",
    "smooth/gaussian",
    "warp/linear",
];
