"""torchvision's side of the backbones: the golden numbers of `crates/backbone`, and the whole
comparison.

    python backbones.py golden [FOLDER]     writes crates/backbone/tests/fixtures/torchvision.json
    python backbones.py compare [FOLDER]    every feature of every stage, against the example
                                            `features`

FOLDER, by default ../shared, holds weights/ with those that are at hand, and photographs (*.jpg,
*.png, at any depth).

Weights and images come from a generator that `crates/backbone/tests/networks/drawn.rs` has as
well: a 64-bit LCG (x ← 6364136223846793005·x + 1442695040888963407), begun at the FNV-1a hash of
the tensor's name; an element u is the upper 24 bits as a number in [−1, 1). Convolutions are
√(6 / fan-in)·u, the factors of norms 1 + 0.2·u, running variances 1 + 0.5·u, all else 0.1·u,
rounded to f32.
Requires: torch 2.8, torchvision 0.23, pillow.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
import torchvision
from torchvision.models import resnet

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "crates/backbone/tests/fixtures/torchvision.json"
THIN = {"kind": "resnet-50", "width": 32, "stride_in": "1x1", "stem_pool": "after"}

# Configuration, size of the image.
EVALUATED = [
    ({"kind": "vgg-16"}, [65, 97]),
    ({"kind": "vgg-16", "norm": "batch"}, [65, 97]),
    ({"kind": "resnet-18"}, [65, 97]),
    ({"kind": "resnet-50"}, [65, 97]),
    ({"kind": "resnet-50", "output_stride": 16}, [65, 97]),
    ({"kind": "resnet-50", "output_stride": 8}, [65, 97]),
    ({"kind": "resnet-101"}, [65, 97]),
    ({"kind": "resnet-101", "output_stride": 8}, [49, 71]),
    (THIN, [65, 97]),
    ({"kind": "mobilenet-v2"}, [65, 97]),
    ({"kind": "squeezenet-1.1"}, [65, 97]),
]
TRAINED = [
    ({"kind": "vgg-16"}, [33, 39]),
    ({"kind": "vgg-16", "norm": "batch"}, [33, 39]),
    ({"kind": "resnet-18"}, [33, 47]),
    ({"kind": "resnet-50", "output_stride": 16}, [33, 47]),
    (THIN, [33, 47]),
    ({"kind": "squeezenet-1.1"}, [33, 47]),
]
PICKS = 8
# Weights that are at hand, by the configuration that takes them.
REAL = [
    (THIN, "resnet50_thin_opennsfw.safetensors"),
    ({"kind": "mobilenet-v2"}, "mobilenet_v2_features.safetensors"),
    ({"kind": "squeezenet-1.1"}, "squeezenet1_1.safetensors"),
]
# By the names that `benches/backbones.rs` has for them.
TIMED = {
    "vgg16": {"kind": "vgg-16"},
    "vgg16-batch": {"kind": "vgg-16", "norm": "batch"},
    "resnet18": {"kind": "resnet-18"},
    "resnet50": {"kind": "resnet-50"},
    "resnet50-half": THIN,
    "resnet101": {"kind": "resnet-101"},
    "mobilenet-v2": {"kind": "mobilenet-v2"},
    "squeezenet": {"kind": "squeezenet-1.1"},
}


def drawn(name, shape):
    """The generator's numbers in [-1, 1) for a tensor of that name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    count = int(np.prod(shape))
    a, c = np.uint64(6364136223846793005), np.uint64(1442695040888963407)
    powers = np.cumprod(np.full(count, a), dtype=np.uint64)
    below = np.concatenate([[np.uint64(0)], np.cumsum(powers[:-1], dtype=np.uint64)])
    states = powers * np.uint64(seed) + c * (below + np.uint64(1))
    return ((states >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def parameter(name, shape):
    u = drawn(name, shape)
    if len(shape) == 4:
        return u * np.sqrt(6 / np.prod(shape[1:]))
    if name.endswith("running_var"):
        return 1 + 0.5 * u
    # Of a norm: convolutions have four axes.
    return 1 + 0.2 * u if name.endswith("weight") else 0.1 * u


def network(config):
    """torchvision's network and the names of the modules whose outputs are our stages."""
    kind, stride = config["kind"], config.get("output_stride", 32)
    models = torchvision.models
    if kind == "vgg-16":
        if config.get("norm") == "batch":
            return models.vgg16_bn(), [f"features.{k}" for k in (22, 32, 42, 43)]
        return models.vgg16(), [f"features.{k}" for k in (15, 22, 29, 30)]
    if kind == "mobilenet-v2":
        return models.mobilenet_v2(), [f"features.{k}" for k in (3, 6, 13, 17)]
    if kind == "squeezenet-1.1":
        return models.squeezenet1_1(), [f"features.{k}" for k in (4, 7, 12)]
    stages = [f"layer{k}" for k in (1, 2, 3, 4)]
    if kind == "resnet-18":
        return models.resnet18(), stages
    dilate = {8: [False, True, True], 16: [False, False, True], 32: [False] * 3}[stride]
    if "width" not in config:
        make = {"resnet-50": models.resnet50, "resnet-101": models.resnet101}[kind]
        return make(replace_stride_with_dilation=dilate), stages
    net = models.resnet50(replace_stride_with_dilation=dilate)
    net.inplanes, net.dilation = 64, 1
    for k, blocks in enumerate([3, 4, 6, 3]):
        stride = 1 if k == 0 else 2
        layer = net._make_layer(resnet.Bottleneck, config["width"] << k, blocks, stride=stride)
        if config["stride_in"] == "1x1":
            layer[0].conv1.stride, layer[0].conv2.stride = (stride, stride), (1, 1)
        setattr(net, f"layer{k + 1}", layer)
    if config["stem_pool"] == "after":
        pool = torch.nn.MaxPool2d(3, 2)
        net.maxpool = torch.nn.Sequential(torch.nn.ZeroPad2d((0, 1, 0, 1)), pool)
    return net, stages


def through(net, last):
    """The part of the network up to and with the module `last`."""
    if isinstance(net, resnet.ResNet):
        stem = [net.conv1, net.bn1, net.relu, net.maxpool]
        return torch.nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4)
    return net.features[: int(last.removeprefix("features.")) + 1]


def features(net, stages, x):
    """The outputs of these modules."""
    found = {}
    hooks = [
        module.register_forward_hook(lambda _, __, y, name=name: found.update({name: y.clone()}))
        for name, module in net.named_modules()
        if name in stages
    ]
    through(net, stages[-1])(x)
    for hook in hooks:
        hook.remove()
    return [found[name] for name in stages]


def ours(net, config):
    """The parameters that our network of the same configuration asks for, by name."""
    unused = ("classifier.", "fc.")
    if config["kind"] == "mobilenet-v2":
        unused += ("features.18.",)
    wanted = lambda name: not name.startswith(unused) and "num_batches" not in name
    return {name: tensor for name, tensor in net.state_dict().items() if wanted(name)}


def seed(net, config):
    with torch.no_grad():
        for name, tensor in ours(net, config).items():
            values = parameter(name, list(tensor.shape)).astype(np.float32)
            tensor.copy_(torch.from_numpy(values))


def pretrain(net, config, file):
    tensors = load(file)
    found = {name: tensors[name] for name in ours(net, config)}
    net.load_state_dict(found, strict=False)


def image(shape):
    return torch.from_numpy(drawn("image", shape).astype(np.float32))


def summary(tensor):
    flat = tensor.detach().double().flatten()
    at = [i * len(flat) // PICKS for i in range(PICKS)]
    numbers = {"mean": flat.mean(), "mean_abs": flat.abs().mean()}
    shape = {"shape": list(tensor.shape)}
    rounded = lambda x: float(f"{float(x):.10g}")
    picks = {"picks": [rounded(flat[i]) for i in at]}
    return shape | {name: rounded(x) for name, x in numbers.items()} | picks


def golden(folder):
    cases = []
    tried = [("eval", *case, None) for case in EVALUATED]
    tried += [("train", *case, None) for case in TRAINED]
    tried += [("pretrained", config, [65, 97], file) for config, file in REAL]
    for phase, config, size, file in tried:
        net, stages = network(config)
        seed(net, config)
        if file is not None:
            pretrain(net, config, folder / "weights" / file)
        net = net.double().train(phase == "train")
        count = 2 if phase == "train" else 1
        maps = features(net, stages, image([count, 3, *size]).double())
        case = {"config": config, "phase": phase, "image": [count, 3, *size]}
        case["stages"] = [{"name": n} | summary(m) for n, m in zip(stages, maps)]
        if phase == "train":
            direction = torch.from_numpy(drawn("direction", list(maps[-1].shape)))
            (maps[-1] * direction).sum().backward()
            named = [(n, p) for n, p in net.named_parameters() if n in ours(net, config)]
            # A norm by the batch takes a bias out again: its gradient is rounding.
            named = [(n, p) for n, p in named if p.grad.abs().mean() > 1e-10]
            # The first, one in the middle and the last three.
            chosen = [named[0], named[len(named) // 2]] + named[-3:]
            case["gradients"] = [{"name": n} | summary(p.grad) for n, p in chosen]
        cases.append(case)
        print(config, phase, file=sys.stderr)
    made = f"torch {torch.__version__}, torchvision {torchvision.__version__}, in f64"
    lines = ",\n    ".join(json.dumps(case) for case in cases)
    text = f'{{\n  "made_with": "{made}",\n  "cases": [\n    {lines}\n  ]\n}}\n'
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(text)


def save(tensors, path):
    """A .safetensors file of f32."""
    header, data = {}, b""
    for name, tensor in tensors.items():
        raw = tensor.detach().float().contiguous().numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def load(path):
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    tensors = {}
    for name, entry in json.loads(raw[8 : 8 + size]).items():
        if entry.get("dtype") == "F32":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            values = np.frombuffer(raw[begin:end], np.float32).reshape(entry["shape"])
            tensors[name] = torch.from_numpy(values.copy())
    return tensors


def photographs(folder, limit=4):
    """Some of a folder's pictures as networks take them, 240×320."""
    from PIL import Image

    files = [f for f in sorted(folder.rglob("*")) if f.suffix in (".jpg", ".png")]
    files = [f for f in files if not any("annot" in p or "label" in p for p in f.parts)]
    columns = lambda *values: np.array(values)[:, None, None]
    mean, std = columns(0.485, 0.456, 0.406), columns(0.229, 0.224, 0.225)
    chosen = []
    for f in files[:: max(1, len(files) // limit)][:limit]:
        pixels = np.asarray(Image.open(f).convert("RGB").resize((320, 240)), np.float64) / 255
        chosen.append((pixels.transpose(2, 0, 1) - mean) / std)
    return torch.from_numpy(np.array(chosen, np.float32)) if chosen else None


def compare(folder):
    build = "cargo build --release --package backbone --example features".split()
    subprocess.run(build, cwd=ROOT, check=True)
    program = ROOT / "target/release/examples/features"
    inputs = [("seeded image", image([1, 3, 241, 321]))]
    if (pictures := photographs(folder)) is not None:
        inputs.append((f"{len(pictures)} photographs", pictures))
    worst = [0.0, 0.0]
    print("| backbone | weights | image | stage | largest difference by largest feature | "
          "norm of the difference by norm of the features |\n|---|---|---|---|---|---|")
    for config, _ in EVALUATED:
        net, stages = network(config)
        files = [folder / "weights" / file for of, file in REAL if of == config]
        for file in [None] + [file for file in files if file.is_file()]:
            seed(net, config)
            if file is not None:
                pretrain(net, config, file)
            kind = "seeded" if file is None else file.stem
            net.eval()
            for name, x in inputs:
                with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
                    place = pathlib.Path(temporary)
                    save(ours(net, config), place / "weights.safetensors")
                    save({"image": x}, place / "image.safetensors")
                    command = [program, json.dumps(config), "weights.safetensors"]
                    command += ["image.safetensors", "features.safetensors"]
                    subprocess.run(command, cwd=place, check=True)
                    got = load(place / "features.safetensors")
                    for stage, expected in zip(stages, features(net, stages, x)):
                        error = got[stage] - expected
                        largest = (error.abs().max() / expected.abs().max()).item()
                        norm = (error.norm() / expected.norm()).item()
                        worst = [max(worst[0], largest), max(worst[1], norm)]
                        start = f"| `{json.dumps(config)}` | {kind} | {name} | {stage} |"
                        print(f"{start} {largest:.1e} | {norm:.1e} |")
    print(f"| worst | | | | {worst[0]:.1e} | {worst[1]:.1e} |")


if __name__ == "__main__":
    torch.manual_seed(0)
    match sys.argv[1:]:
        case [("golden" | "compare") as command, *rest] if len(rest) < 2:
            run = golden if command == "golden" else compare
            run(pathlib.Path(rest[0]) if rest else ROOT / "../shared")
        case _:
            raise SystemExit(__doc__)
