"""Write the code that reads or makes the embeddings for IP-Adapters.

The script's functions are for UNets; the call of a transformer's pipeline takes the embeddings from the files.
"""

from __future__ import annotations

from collections.abc import Sequence

from recipe_runner.disk.home import home_folder
from recipe_runner.exchange.python.code import Code, ScriptPlace, literal
from recipe_runner.sources import face_models
from recipe_runner.sources.source import Source
from recipe_runner.weights.files.formats import identify_format
from recipe_runner.weights.files.header import read_header
from recipe_runner.weights.files.image_embeds import embeds_shape

FUNCTION = '''
def shown(pipeline, prompt, guided):
    """The prompt with its images encoded: what guidance steers away from first, then the images themselves."""
    layers, found = pipeline.unet.encoder_hid_proj.image_projection_layers, []
    for layer, image in zip(layers, prompt["images"]):
        if "pictures" in image:
            with torch.no_grad():
                states = not isinstance(layer, ImageProjection)
                positive, negative = pipeline.encode_image(image["pictures"], pipeline.device, 1, states)
            encoded = torch.stack([negative, positive])
        if "embeds" in image:
            embeds = torch.cat(image["embeds"], dim=1)
            embeds = embeds if len(embeds) == 2 or not guided else torch.cat([torch.zeros_like(embeds), embeds])
            if "pictures" in image:  # FaceID Plus looks at the faces too
                layer.clip_embeds = (encoded if guided else encoded[1:]).to(pipeline.device, pipeline.unet.dtype)
                layer.shortcut = image["shortcut"]
            encoded = embeds
        found.append((encoded if guided else encoded[-1:]).to(pipeline.device, pipeline.unet.dtype))
    return {**{key: value for key, value in prompt.items() if key != "images"}, "ip_adapter_image_embeds": found}
'''
"""The script calls it for prompts with `images`. `guided`: whether classifier-free guidance is on."""

_FACES = '''
OPTIONS = SessionOptions()
OPTIONS.intra_op_num_threads = 1  # the number may decide the last bits
FINDER = FaceAnalysis(
    name="{pack}",{root}
    allowed_modules=["detection", "recognition"],
    providers=["CPUExecutionProvider"],
    sess_options=OPTIONS,
)
FINDER.prepare(ctx_id=-1, det_size=(640, 640))


def faces(pictures, shortcut=None):
    """The embeddings of the one face of each picture; with `shortcut` the faces too, cut out and with blue first."""
    embeds, cut = [], []
    for picture in pictures:
        pixels = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])
        (face,) = FINDER.get(pixels)
        embeds.append(torch.from_numpy(face.normed_embedding))
        cut.append(face_align.norm_crop(pixels, landmark=face.kps, image_size=224))
    found = {"embeds": [torch.stack(embeds)[None]]}
    return found if shortcut is None else {**found, "pictures": cut, "shortcut": shortcut}
'''


def faces_function(place: ScriptPlace) -> str:
    """The code that finds faces: insightface with its models, and the function `faces`."""
    root = ""
    if face_models.models_root() != home_folder() / ".insightface":
        root = f"\n    root=str({place.path(face_models.models_root()).text}),"
    return _FACES.replace("{pack}", face_models.PACK).replace("{root}", root)


def embeddings(source: Source, place: ScriptPlace) -> tuple[Code, Sequence[int]]:
    """The expression that reads a file of embeddings, and the shape in the file."""
    path = source.path(source.files[0].name)
    if identify_format(path) == "numpy":
        read = f"torch.from_numpy(np.load({literal(place.path(path))}))"
    else:
        (key,) = read_header(path).tensors
        read = f"load_file({literal(place.path(path))})[{literal(key)}]"
    return Code(f"{read}.float()"), embeds_shape(path, source.address)
