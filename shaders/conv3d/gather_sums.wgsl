// Part of conv3d/gather_simt: sums over chunks of {{ CD }} x {{ CH }} x {{ CW }} of the points that it stores, for a
// norm. SUMS = 1: mean and M2 of the values (as norm/statistics). SUMS = 2: the sums of g and g xhat (as
// norm/backward_sums), the values being the whole gradient da.
//
// An invocation sums four neighbours along w, in workgroup memory the sums of a chunk are added in the order d, h, w:
// always the same, whatever the brick.
//
// partial: vec4 [n * blocks][chunk][2]. z: as y; its norm is tabulated in on_load (norm/on_load).
{% if SUMS == 1 %}
@group(0) @binding({{ 5 + NORM }}) var<storage, read_write> partial: array<vec4<f32>>;
{% else %}
@group(0) @binding(6) var<storage, read_write> partial: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read> z: array<vec4<f32>>;
{% endif %}
{% set QUADS_W = BW // 4 %}

struct Sums { first: vec4<f32>, second: vec4<f32> }

// Row of the sums of a channel block.
fn sums_row(n: u32, block: u32) -> u32 {
    return p.sums_base + n * p.sums_stride + block;
}

{% if SUMS == 1 %}
// Of four values of which the first `size` count.
fn sums_of(size: u32, v0: vec4<f32>, v1: vec4<f32>, v2: vec4<f32>, v3: vec4<f32>) -> Sums {
    let counts = select(vec4(0.0), vec4(1.0), vec4(0u, 1u, 2u, 3u) < vec4(size));
    let mean = (v0 * counts.x + v1 * counts.y + v2 * counts.z + v3 * counts.w) / f32(max(size, 1u));
    let d0 = v0 - mean;
    let d1 = v1 - mean;
    let d2 = v2 - mean;
    let d3 = v3 - mean;
    return Sums(mean, d0 * d0 * counts.x + d1 * d1 * counts.y + d2 * d2 * counts.z + d3 * d3 * counts.w);
}
{% else %}
// With one value da more, at output point q.
fn add_sums(sums: Sums, f: OnLoad, n: u32, first: vec3<u32>, q: vec3<u32>, block: u32, da: vec4<f32>) -> Sums {
    let xhat = (z[index_of(n, first, q, block, p.z_base, p.z_stride)] - f.mean) * f.rstd;
    let g = select(da * f.slope, da, f.scale * xhat + f.shift > vec4(0.0));
    return Sums(sums.first + g, fma(g, xhat, sums.second));
}
{% endif %}

// Sums the chunks of a brick whose first point is q0, from the sums of all quads in sh_x: vec4
// [quad d, h, w][channel block][2].
fn sum_chunks(local: u32, n: u32, q0: vec3<u32>, tile: u32) {
    for (var task = local; task < {{ BD // CD * (BH // CH) * (BW // CW) * 8 }}u; task += {{ THREADS }}u) {
        let block = tile * 8u + task % 8u;
        let chunk = task / 8u;
        let c = vec3(
            chunk % {{ BW // CW }}u,
            chunk / {{ BW // CW }}u % {{ BH // CH }}u,
            chunk / {{ BW // CW * (BH // CH) }}u,
        ) * vec3({{ CW }}u, {{ CH }}u, {{ CD }}u);
        let q = q0 + c;
        if block >= p.co_blocks || q.x >= p.q_w || q.y >= p.q_h || q.z >= p.q_d {
            continue;
        }
        var sums = Sums(vec4(0.0), vec4(0.0));
{% if SUMS == 1 %}
        var size = 0.0;
{% endif %}
        let extent = min(vec3({{ CW }}u, {{ CH }}u, {{ CD }}u), vec3(p.q_w, p.q_h, p.q_d) - q);
        for (var d = 0u; d < extent.z; d++) {
            for (var h = 0u; h < extent.y; h++) {
                for (var w = 0u; w < extent.x; w += 4u) {
                    let at = quad_place(c + vec3(w, h, d), task % 8u);
{% if SUMS == 1 %}
                    // Chan, Golub, LeVeque 1979.
                    let more = f32(min(extent.x - w, 4u));
                    let delta = sh_x[at] - sums.first;
                    sums.first += delta * (more / (size + more));
                    sums.second += sh_x[at + 1u] + delta * delta * (size * more / (size + more));
                    size += more;
{% else %}
                    sums.first += sh_x[at];
                    sums.second += sh_x[at + 1u];
{% endif %}
                }
            }
        }
        let counts = (vec2(p.q_w, p.q_h) + vec2({{ CW - 1 }}u, {{ CH - 1 }}u)) / vec2({{ CW }}u, {{ CH }}u);
        let number = (q.z / {{ CD }}u * counts.y + q.y / {{ CH }}u) * counts.x + q.x / {{ CW }}u;
        let i = (sums_row(n, block) * p.chunks + p.chunk_first + number) * 2u;
        partial[i] = sums.first;
        partial[i + 1u] = sums.second;
    }
}

// Place in sh_x of the sums of a quad (its first point within the brick) and channel block.
fn quad_place(quad: vec3<u32>, block: u32) -> u32 {
    return (((quad.z * {{ BH }}u + quad.y) * {{ QUADS_W }}u + quad.x / 4u) * 8u + block) * 2u;
}
