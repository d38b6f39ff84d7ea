//! The comparer of all tests.

/// `max |a - b| <= tol * max |b|` over one tensor (absolute 1e-6 where b is all but zero); length
/// and non-finite values first, then the worst position with both values.
pub fn close(what: &str, a: &[f32], b: &[f32], tol: f64) -> Result<(), String> {
    close_shaped(what, a, b, tol, &[])
}

/// [`close`] that names positions along the axes of `shape` (N,C,D,H,W or its last ones).
pub fn close_shaped(
    what: &str,
    a: &[f32],
    b: &[f32],
    tol: f64,
    shape: &[usize],
) -> Result<(), String> {
    let largest = b.iter().fold(0f64, |m, v| m.max(f64::from(v.abs())));
    within(what, a, b, if largest < 1e-12 { 1e-6 } else { tol * largest }, shape)
}

/// `|a - b| <= bound` everywhere.
pub fn within(what: &str, a: &[f32], b: &[f32], bound: f64, shape: &[usize]) -> Result<(), String> {
    if a.len() != b.len() {
        return Err(format!("{what}: {} values instead of {}", a.len(), b.len()));
    }
    for (values, of) in [(a, ""), (b, "the reference of ")] {
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let count = values.iter().filter(|v| !v.is_finite()).count();
            let at = position(shape, i, a.len());
            return Err(format!("{of}{what}{at} is {} ({count} not finite)", values[i]));
        }
    }
    let off = |i: usize| (f64::from(a[i]) - f64::from(b[i])).abs();
    let Some(worst) = (0..a.len()).max_by(|&i, &j| off(i).total_cmp(&off(j))) else {
        return Ok(());
    };
    if off(worst) <= bound {
        return Ok(());
    }
    let beyond = (0..a.len()).filter(|&i| off(i) > bound).count();
    Err(format!(
        "{what}{} is {} instead of {}: off by {:.3e}, allowed {bound:.3e} ({beyond} of {} values \
         are off by more)",
        position(shape, worst, a.len()),
        a[worst],
        b[worst],
        off(worst),
        a.len(),
    ))
}

/// `[n 1, c 0, d 2, h 3, w 4]` where the shape is that of a volume, else `[i]`.
pub fn position(shape: &[usize], index: usize, len: usize) -> String {
    let names = ["n", "c", "d", "h", "w"];
    let axes = shape.len();
    if axes < 3 || axes > names.len() || shape.iter().product::<usize>() != len {
        return format!("[{index}]");
    }
    let mut rest = index;
    let mut parts = Vec::new();
    for (axis, &edge) in shape.iter().enumerate().rev() {
        parts.push(format!("{} {}", names[names.len() - axes + axis], rest % edge));
        rest /= edge;
    }
    parts.reverse();
    format!("[{}]", parts.join(", "))
}
