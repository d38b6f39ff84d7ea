//! Policies as transforms: draws, warps, intensity.
