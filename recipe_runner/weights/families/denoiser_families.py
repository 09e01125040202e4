"""The families of denoisers, as data: their names, and the modules that identify each.

Both spellings of module names are listed: diffusers' and that of the original code, which single files and many LoRAs
use.
Sources: the classes and defaults in diffusers `models/`, `loaders/single_file_utils.py` (`CHECKPOINT_KEY_NAMES`),
`loaders/lora_conversion_utils.py`.
"""

from __future__ import annotations

from recipe_runner.pipelines.family import SD1, SD2, SDXL
from recipe_runner.weights.families.denoisers import DenoiserFamily, FamilySignature

_UNET = r"(?:^|_)(?:down|up|input|output)_blocks_#_|(?:^|_)mid(?:dle)?_block_"
_CROSS = rf"(?:{_UNET}).*attn2_to_[kv]$"


def _unet(name: str, title: str, *signatures: FamilySignature) -> DenoiserFamily:
    return DenoiserFamily(name=name, title=title, component="unet", signatures=signatures)


def _transformer(name: str, title: str, *signatures: FamilySignature) -> DenoiserFamily:
    return DenoiserFamily(name=name, title=title, component="transformer", signatures=signatures)


DENOISER_FAMILIES: tuple[DenoiserFamily, ...] = (
    _unet("svd", "Stable Video Diffusion", FamilySignature(r"temporal_transformer_blocks|time_stack_#|time_stack")),
    _unet("kolors", "Kolors", FamilySignature(r"^encoder_hid_proj$", (4096,))),
    _unet(
        "deepfloyd-if",
        "DeepFloyd IF",
        FamilySignature(rf"(?:{_UNET}).*attentions_#_add_k_proj$", (1024, 1280, 4096)),
        FamilySignature("^encoder_hid_proj$", (4096,)),
    ),
    _unet(
        "kandinsky2",
        "Kandinsky 2",
        FamilySignature(rf"(?:{_UNET}).*attentions_#_add_[kv]_proj$", (768,)),
        FamilySignature("^add_embedding_image_(?:norm|proj)$"),
    ),
    _unet(SD1.name, "SD 1.x", FamilySignature(_CROSS, (SD1.text_width,))),
    _unet(SD2.name, "SD 2.x", FamilySignature(_CROSS, (SD2.text_width,))),
    _unet(
        SDXL.name,
        "SDXL",
        FamilySignature(_CROSS, (SDXL.text_width,)),
        FamilySignature(r"^add_embedding_linear_#$", (2816,)),
        FamilySignature(r"^label_emb_#_#$", (2816,)),
    ),
    _unet(
        "sdxl-refiner",
        "the SDXL refiner",
        FamilySignature(_CROSS, (1280,)),
        FamilySignature(r"^(?:label_emb_#_#|add_embedding_linear_#)$", (2560,)),
    ),
    _transformer("flux3", "FLUX.3", FamilySignature(r"^(?:early|single)_stream_modulations_|^(?:txt_)?mode_blocks_")),
    _transformer(
        "krea2",
        "Krea 2",
        FamilySignature(r"^txtfusion_|^text_fusion_"),
        FamilySignature(r"^transformer_blocks_#_attn_to_gate$", (6144,)),
        FamilySignature(r"^transformer_blocks_#_attn_to_[kv]$", (6144,), ratio=0.25),
        FamilySignature(r"^blocks_#_attn_w[qkvo]$"),
    ),
    _transformer(
        "flux2",
        "FLUX.2",
        FamilySignature(r"(?:double|single)_stream_modulation"),
        FamilySignature(r"single_transformer_blocks_#_attn_to_qkv_mlp_proj$"),
        FamilySignature(r"^transformer_blocks_#_ff(?:_context)?_linear_(?:in|out)$"),
        FamilySignature(r"^single_blocks_#_linear1$", ratio=9),
        FamilySignature(r"double_blocks_#_(?:img|txt)_mlp_#$", ratio=6),
        FamilySignature(r"^(?:double|single)_blocks_#_(?:(?:img|txt)_attn|linear1)", (6144, 4096)),
        FamilySignature(r"^transformer_blocks_#_attn_(?:to_[qkv]|to_out_#)$", (6144,)),
        FamilySignature(r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out)$", (6144, 4096)),
    ),
    _transformer("chroma", "Chroma", FamilySignature(r"^distilled_guidance_layer_")),
    _transformer(
        "hunyuan-video",
        "HunyuanVideo",
        FamilySignature(r"(?:token_refiner|individual_token_refiner)", (3072,)),
        FamilySignature(r"^single_(?:transformer_)?blocks_#_", (3072, 15360), (39, 40)),
        FamilySignature(r"^double_blocks_#_", (3072,), (20, 20)),
        FamilySignature(r"^transformer_blocks_#_norm1_context_linear", (3072,), (20, 20)),
    ),
    _transformer(
        "hunyuan-video-1.5",
        "HunyuanVideo 1.5",
        FamilySignature(r"token_refiner", (2048,)),
        FamilySignature(r"^cond_type_embed(?:ding)?$"),
    ),
    _transformer(
        "hunyuan-image",
        "HunyuanImage",
        FamilySignature(r"token_refiner", (3584,)),
        FamilySignature(r"^(?:double|single)_blocks_#_", (3584,)),
        FamilySignature(r"^(?:single_)?transformer_blocks_#_attn_to_[qkv]$", (3584,)),
    ),
    _transformer(
        "auraflow",
        "AuraFlow",
        FamilySignature(r"joint_transformer_blocks_#_"),
        FamilySignature(r"^(?:double|single)_layers_#_(?:attn|mlp)"),
        FamilySignature(r"^cond_seq_linear$"),
        FamilySignature(r"^single_transformer_blocks_#_(?:ff_|norm1_|attn_to_out_#)"),
    ),
    _transformer("longcat-image", "LongCat-Image", FamilySignature(r"^context_embedder$", (3584,))),
    _transformer(
        "ovis-image",
        "Ovis-Image",
        FamilySignature(r"^context_embedder$", (2048,)),
        FamilySignature(r"single_transformer_blocks_#_proj_mlp$", ratio=8),
    ),
    _transformer(
        "bria",
        "Bria",
        FamilySignature(r"^time_embed_timestep_embedder_linear_#$", (256,), without="pooler|^adaln|time_text"),
    ),
    _transformer(
        "flux1",
        "FLUX.1",
        FamilySignature(
            r"^single_transformer_blocks_#_(?:attn_to_[qkv]|proj_mlp|proj_out|norm_linear)$", (3072, 15360)
        ),
        FamilySignature(r"^single_blocks_#_(?:linear[12]|modulation_lin|processor)", (3072, 15360)),
        FamilySignature(
            r"^double_blocks_#_(?:img|txt)_(?:attn|mlp|mod)|double_blocks_#_(?:processor_)?(?:qkv|proj)_lora",
            (3072, 12288),
        ),
        FamilySignature(
            r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out|to_[qkv]|to_out_#)$",
            (3072,),
            (1, 19),
            without=r"img_mlp|txt_mlp|img_mod|txt_mod",
        ),
        FamilySignature(r"^transformer_blocks_#_(?:ff|ff_context)_net_#", (3072, 12288), (1, 19), without="attn[12]_"),
    ),
    _transformer(
        "qwen-image-2.1",
        "Qwen-Image 2.1",
        FamilySignature(r"transformer_blocks_#_img_mlp_gate_layer$"),
        FamilySignature(r"^txt_in_text_norm$"),
        FamilySignature(r"^transformer_blocks_#_(?:attn_to_[qkv]|attn_to_out_#|img_mlp_proj)$", (4096,)),
    ),
    _transformer(
        "qwen-image",
        "Qwen-Image",
        FamilySignature(r"^transformer_blocks_#_(?:img|txt)_(?:mod|mlp)_"),
        FamilySignature(r"^txt_norm$"),
        FamilySignature(
            r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out|to_[qkv]|to_out_#)$", (3072,), (20, 60)
        ),
    ),
    _transformer(
        "sd3",
        "SD 3",
        FamilySignature(r"^joint_blocks_#_(?:x_block|context_block)_"),
        FamilySignature(
            r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out|to_[qkv]|to_out_#)$", (1152, 1536, 2432)
        ),
    ),
    _transformer(
        "z-image",
        "Z-Image",
        FamilySignature(
            r"^(?:layers|noise_refiner|context_refiner)_#_(?:attention_|feed_forward_w[13]$|adaLN)", (3840,)
        ),
        FamilySignature(r"^layers_#_adaLN_modulation_#$", (256,), ratio=60),
        FamilySignature(r"^all_x_embedder_"),
    ),
    _transformer(
        "ideogram4",
        "Ideogram 4",
        FamilySignature(r"^llm_cond_proj$"),
        FamilySignature(r"^layers_#_(?:attention_|feed_forward_w[13]$)", (4608,)),
    ),
    _transformer(
        "lumina2",
        "Lumina 2",
        FamilySignature(r"^(?:layers|noise_refiner|context_refiner)_#_(?:attn|attention|feed_forward)_", (2304,)),
        FamilySignature(r"^cap_embedder_#$", (2304,)),
        FamilySignature(r"^time_caption_embed_caption_embedder_#$", (2304,)),
    ),
    _transformer("ernie-image", "ERNIE-Image", FamilySignature(r"^layers_#_self_attention_to_", (3072,))),
    _transformer("anima", "Anima", FamilySignature(r"^llm_adapter_")),
    _transformer(
        "cosmos",
        "Cosmos",
        FamilySignature(r"^blocks_#_(?:self|cross)_attn_(?:q|k|v|output)_proj$"),
        FamilySignature(r"^blocks_block#?_?.*_blocks_#_block_attn"),
        FamilySignature(r"transformer_blocks_#_norm[123]_linear_#$", (4096, 2048, 5120, 256)),
        FamilySignature(r"transformer_blocks_#_attn2_to_[kv]$", (1024,)),
    ),
    _transformer(
        "wan",
        "Wan",
        FamilySignature(r"^blocks_#_(?:self_attn|cross_attn)_(?:[qkvo]|[kv]_img)$"),
        FamilySignature(r"^blocks_#_attn[12]_(?:to_[qkv]|to_out_#|add_[kv]_proj)$", (1536, 3072, 5120)),
        FamilySignature(r"^blocks_#_ffn_(?:net_)?#", (1536, 3072, 5120, 8960, 13824, 14336)),
        FamilySignature(r"^head_modulation$"),
        FamilySignature(r"^vace_blocks_#_"),
    ),
    _transformer(
        "hunyuan-dit",
        "Hunyuan-DiT",
        FamilySignature(r"^blocks_#_attn[12]_(?:to_[qkv]|Wqkv|q_proj|kv_proj)", (1408, 1024)),
    ),
    _transformer("kandinsky", "Kandinsky 5", FamilySignature(r"(?:visual|text)_transformer_blocks_#_")),
    _transformer("hidream", "HiDream", FamilySignature(r"(?:double|single)_stream_blocks_#_block_")),
    _transformer(
        "mochi",
        "Mochi",
        FamilySignature(r"transformer_blocks_#_attn1_(?:add_[qkv]_proj|to_add_out)$"),
        FamilySignature(r"^blocks_#_attn_(?:qkv|proj)_[xy]$"),
    ),
    _transformer(
        "ltx2",
        "LTX-2",
        FamilySignature(r"transformer_blocks_#_(?:audio_attn|audio_to_video|video_to_audio|audio_ff|av_ca)"),
        FamilySignature(r"^transformer_blocks_#_attn2_(?:to_[qkv]|to_out_#)$", (4096,)),
        FamilySignature(r"^av_ca_"),
    ),
    _transformer(
        "ltx",
        "LTX-Video",
        FamilySignature(
            r"^transformer_blocks_#_attn[12]_(?:to_[qkv]|to_out_#)$",
            (2048,),
            without=rf"(?:{_UNET})|patch_embed_text_proj|embedding_proj",
        ),
        FamilySignature(r"^patchify_proj$"),
    ),
    _transformer(
        "sana",
        "Sana",
        FamilySignature(r"transformer_blocks_#_ff_conv_(?:inverted|point|depth)"),
        FamilySignature(r"^blocks_#_cross_attn_(?:q|kv)_linear$"),
        FamilySignature(r"^transformer_blocks_#_attn[12]_(?:to_[qkv]|to_out_#)$", (2240,)),
    ),
    _transformer(
        "pixart",
        "PixArt",
        FamilySignature(r"^transformer_blocks_#_attn2_(?:to_[qkv]|to_out_#)$", (1152,)),
        FamilySignature(r"^adaln_single_", (1152, 256), without="ff_conv"),
        FamilySignature(r"^blocks_#_cross_attn_(?:q|kv)_linear$", (1152,)),
    ),
    _transformer(
        "cogview",
        "CogView 4",
        FamilySignature(r"^time_condition_embed_"),
        FamilySignature(r"^transformer_blocks_#_attn1_(?:to_[qkv]|to_out_#)$", (2560, 4096), without="attn2_"),
    ),
    _transformer(
        "cogvideox",
        "CogVideoX",
        FamilySignature(r"^transformer_blocks_#_attn1_(?:to_[qkv]|to_out_#)$", (1920, 3072), without="attn2_"),
        FamilySignature(r"^transformer_blocks_#_norm[12]_linear$", (512,), without="attn_"),
    ),
    _transformer("dit", "DiT", FamilySignature(r"transformer_blocks_#_norm1_emb_class_embedder")),
    _transformer("prx", "PRX", FamilySignature(r"^blocks_#_attention_(?:img_qkv|txt_kv)_proj$")),
    _transformer(
        "kandinsky2-prior", "the Kandinsky 2 prior", FamilySignature(r"^embedding_proj$|^encoder_hidden_states_proj$")
    ),
    _unet(
        "cascade",
        "Stable Cascade",
        FamilySignature(r"^clip_txt_(?:pooled_)?mapper$"),
        FamilySignature(r"(?:down|up)_blocks_#_#_(?:channelwise_#|kv_mapper_#|mapper_sca)"),
    ),
)
"""In this order: the first family with a matching signature is the answer. Weak signatures come after strong ones."""
