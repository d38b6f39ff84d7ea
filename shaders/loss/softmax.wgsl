// Part of the loss kernels, inside their loop over the voxels v of sample n: the label and whether it
// counts, logits l (those that pad far below all), their maximum top, exponentials e of l - top, and
// the sum of these.
        let label = labels[p.first_label + n * p.voxels + v];
        let counts = label != 255u;
        var top = -3.4e38;
{% for b in range(BLOCKS) %}
        let valid{{ b }} = CLASS_IDS + {{ b * 4 }}u < vec4({{ CLASSES }}u);
        let l{{ b }} = select(vec4(-3.4e38), logits[(p.base + n * p.stride + {{ b }}u) * p.voxels + v], valid{{ b }});
        top = max(top, max(max(l{{ b }}.x, l{{ b }}.y), max(l{{ b }}.z, l{{ b }}.w)));
{% endfor %}
        var sum = 0.0;
{% for b in range(BLOCKS) %}
        let e{{ b }} = select(vec4(0.0), exp(l{{ b }} - top), valid{{ b }});
        sum += e{{ b }}.x + e{{ b }}.y + e{{ b }}.z + e{{ b }}.w;
{% endfor %}
