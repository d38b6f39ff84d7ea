// Loss values and the coefficients of the gradient, from the sums of loss/dice_ce_sums or
// loss/blocks_sums.
//
// dc = (2 tp + s) / (sp + st + s + 1e-8), s = 1e-5 (2 tp + fp + fn = sp + st); dice = -mean dc over
// the channels from first_class on (and samples, unless batch_dice sums over them); ce = the mean of
// the cross entropy over the voxels that count (of the binary one also over the channels), 0 where none
// does; total = ce + dice (nnU-Net, DC_and_CE_loss and DC_and_BCE_loss).
// d dice / d p = A t + B with A = -2 / (K D), B = N / (K D^2).
//
// sums: [n][block][6] vec4. out: [ce, dice, total, non-finite flag], then per channel hard tp, fp, fn.
// coefficients: vec4, first the factor of the cross entropy's gradient, then [n][block][2]: A, B.
// One workgroup, a channel per invocation; classes to a workgroup's memory, added in order.
struct Params {
    samples: u32, classes: u32, blocks: u32, batch_dice: u32,
    voxels: u32, out_offset: u32, first_class: u32, channels: f32,
    inverse_count: f32, pad0: u32, pad1: u32, pad2: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> coefficients: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
var<workgroup> sh_dice: array<f32, 256>;

fn value(n: u32, class_: u32, kind: u32) -> f32 {
    return sums[((n * p.blocks + class_ / 4u) * 6u + kind) * 4u + class_ % 4u];
}

fn over_batch(class_: u32, kind: u32) -> f32 {
    var sum = 0.0;
    for (var n = 0u; n < p.samples; n++) {
        sum += value(n, class_, kind);
    }
    return sum;
}

// Counts, Dice and coefficients of a channel, those that pad the last block included.
fn channel(c: u32, terms: f32) -> f32 {
    let in_dice = c >= p.first_class && c < p.classes;
    var all_tp = 0.0;
    var all_both = 0.0;
    if c < p.classes {
        let hard_tp = over_batch(c, 3u);
        let st = over_batch(c, 2u);
        out[p.out_offset + 4u + c * 3u] = hard_tp;
        out[p.out_offset + 5u + c * 3u] = over_batch(c, 4u) - hard_tp;
        out[p.out_offset + 6u + c * 3u] = st - hard_tp;
        all_tp = over_batch(c, 0u);
        all_both = over_batch(c, 1u) + st;
    }
    var dice = 0.0;
    for (var n = 0u; n < p.samples; n++) {
        var a = 0.0;
        var b = 0.0;
        if in_dice {
            var tp = all_tp;
            var both = all_both;
            if p.batch_dice == 0u {
                tp = value(n, c, 0u);
                both = value(n, c, 1u) + value(n, c, 2u);
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
        let at = 4u + (n * p.blocks + c / 4u) * 8u + c % 4u;
        coefficients[at] = a;
        coefficients[at + 4u] = b;
    }
    return dice;
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
    let terms = f32(p.classes - p.first_class) * select(f32(p.samples), 1.0, p.batch_dice == 1u);
    for (var c = local; c < p.blocks * 4u; c += 64u) {
        sh_dice[c] = channel(c, terms);
    }
    workgroupBarrier();
    if local != 0u {
        return;
    }
    var ce = 0.0;
    var ignored = 0.0;
    for (var n = 0u; n < p.samples; n++) {
        for (var b = 0u; b < p.blocks; b++) {
            let at = ((n * p.blocks + b) * 6u + 5u) * 4u;
            ce += sums[at];
            ignored += select(0.0, sums[at + 1u], b == 0u);
        }
    }
    let count = (f32(p.samples) * f32(p.voxels) - ignored) * p.channels;
    ce = select(0.0, ce / count, count > 0.0);
    // The host's quotient where no voxel is ignored, so that nothing changes then.
    coefficients[0] = select(select(0.0, 1.0 / count, count > 0.0), p.inverse_count, ignored == 0.0);
    var dice = 0.0;
    for (var c = p.first_class; c < p.classes; c++) {
        dice += sh_dice[c];
    }
    let total = ce + dice;
    out[p.out_offset] = ce;
    out[p.out_offset + 1u] = dice;
    out[p.out_offset + 2u] = total;
    // On the exponent's bits: a shader compiler may assume that there are no NaN.
    out[p.out_offset + 3u] = select(0.0, 1.0, (bitcast<u32>(total) & 0x7f800000u) == 0x7f800000u);
}
