// Loss values and the coefficients of the gradient, from the sums of loss/dice_ce_sums.
//
// dc = (2 tp + s) / (sp + st + s + 1e-8), s = 1e-5 (2 tp + fp + fn = sp + st); dice = -mean dc over
// classes 1.. (and samples, unless batch_dice sums over them); total = ce + dice
// (nnU-Net v1, DC_and_CE_loss). d dice / d p = A t + B with A = -2 / (K D), B = N / (K D^2).
// out: [ce, dice, total, non-finite flag], then per class hard tp, fp, fn.
// coefficients: f32 [n][class][2]: A, B. One invocation does all: a few hundred values.
struct Params {
    samples: u32, classes: u32, slots: u32, batch_dice: u32,
    voxels: u32, out_offset: u32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> coefficients: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

fn value(n: u32, class_: u32, kind: u32) -> f32 {
    return sums[(n * p.slots + class_ / 4u * 5u + kind) * 4u + class_ % 4u];
}

fn over_batch(class_: u32, kind: u32) -> f32 {
    var sum = 0.0;
    for (var n = 0u; n < p.samples; n++) {
        sum += value(n, class_, kind);
    }
    return sum;
}

@compute @workgroup_size(1)
fn main() {
    var ce = 0.0;
    for (var n = 0u; n < p.samples; n++) {
        ce += sums[(n * p.slots + p.slots - 1u) * 4u];
    }
    ce /= f32(p.samples) * f32(p.voxels);
    let terms = f32(p.classes - 1u) * select(f32(p.samples), 1.0, p.batch_dice == 1u);
    var dice = 0.0;
    for (var c = 0u; c < p.classes; c++) {
        let hard_tp = over_batch(c, 3u);
        out[p.out_offset + 4u + c * 3u] = hard_tp;
        out[p.out_offset + 5u + c * 3u] = over_batch(c, 4u) - hard_tp;
        out[p.out_offset + 6u + c * 3u] = over_batch(c, 2u) - hard_tp;
        for (var n = 0u; n < p.samples; n++) {
            var a = 0.0;
            var b = 0.0;
            if c > 0u {
                var tp = value(n, c, 0u);
                var both = value(n, c, 1u) + value(n, c, 2u);
                if p.batch_dice == 1u {
                    tp = over_batch(c, 0u);
                    both = over_batch(c, 1u) + over_batch(c, 2u);
                }
                let numerator = 2.0 * tp + 1e-5;
                let denominator = both + 1e-5 + 1e-8;
                let ratio = numerator / denominator;
                a = -2.0 / (terms * denominator);
                b = ratio / (terms * denominator);
                if p.batch_dice == 0u || n == 0u {
                    dice -= ratio / terms;
                }
            }
            coefficients[(n * p.classes + c) * 2u] = a;
            coefficients[(n * p.classes + c) * 2u + 1u] = b;
        }
    }
    let total = ce + dice;
    out[p.out_offset] = ce;
    out[p.out_offset + 1u] = dice;
    out[p.out_offset + 2u] = total;
    // On the exponent's bits: a shader compiler may assume that there are no NaN.
    out[p.out_offset + 3u] = select(0.0, 1.0, (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u);
}
