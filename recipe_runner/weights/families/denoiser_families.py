"""The families of denoisers, as data: what each is called, and by which modules it is known.

Names on both sides are known: diffusers' and those of the original code, which single files and many LoRAs keep.
Sources: the classes and defaults in diffusers `models/`, `loaders/single_file_utils.py` (`CHECKPOINT_KEY_NAMES`),
`loaders/lora_conversion_utils.py`.
"""

from __future__ import annotations

from recipe_runner.pipelines.family import SD1, SD2, SDXL
from recipe_runner.weights.families.denoisers import DenoiserFamily, Mark

_UNET = r"(?:^|_)(?:down|up|input|output)_blocks_#_|(?:^|_)mid(?:dle)?_block_"
_CROSS = rf"(?:{_UNET}).*attn2_to_[kv]$"


def _unet(name: str, title: str, *marks: Mark) -> DenoiserFamily:
    return DenoiserFamily(name=name, title=title, component="unet", marks=marks)


def _transformer(name: str, title: str, *marks: Mark) -> DenoiserFamily:
    return DenoiserFamily(name=name, title=title, component="transformer", marks=marks)


DENOISER_FAMILIES: tuple[DenoiserFamily, ...] = (
    _unet("svd", "Stable Video Diffusion", Mark(r"temporal_transformer_blocks|time_stack_#|time_stack")),
    _unet("kolors", "Kolors", Mark(r"^encoder_hid_proj$", (4096,))),
    _unet(
        "deepfloyd-if",
        "DeepFloyd IF",
        Mark(rf"(?:{_UNET}).*attentions_#_add_k_proj$", (1024, 1280, 4096)),
        Mark("^encoder_hid_proj$", (4096,)),
    ),
    _unet(
        "kandinsky2",
        "Kandinsky 2",
        Mark(rf"(?:{_UNET}).*attentions_#_add_[kv]_proj$", (768,)),
        Mark("^add_embedding_image_(?:norm|proj)$"),
    ),
    _unet(SD1.name, "SD 1.x", Mark(_CROSS, (SD1.text_width,))),
    _unet(SD2.name, "SD 2.x", Mark(_CROSS, (SD2.text_width,))),
    _unet(
        SDXL.name,
        "SDXL",
        Mark(_CROSS, (SDXL.text_width,)),
        Mark(r"^add_embedding_linear_#$", (2816,)),
        Mark(r"^label_emb_#_#$", (2816,)),
    ),
    _unet(
        "sdxl-refiner",
        "the SDXL refiner",
        Mark(_CROSS, (1280,)),
        Mark(r"^(?:label_emb_#_#|add_embedding_linear_#)$", (2560,)),
    ),
    _transformer("flux3", "FLUX.3", Mark(r"^(?:early|single)_stream_modulations_|^(?:txt_)?mode_blocks_")),
    _transformer(
        "krea2",
        "Krea 2",
        Mark(r"^txtfusion_|^text_fusion_"),
        Mark(r"^transformer_blocks_#_attn_to_gate$", (6144,)),
        Mark(r"^transformer_blocks_#_attn_to_[kv]$", (6144,), ratio=0.25),
        Mark(r"^blocks_#_attn_w[qkvo]$"),
    ),
    _transformer(
        "flux2",
        "FLUX.2",
        Mark(r"(?:double|single)_stream_modulation"),
        Mark(r"single_transformer_blocks_#_attn_to_qkv_mlp_proj$"),
        Mark(r"^transformer_blocks_#_ff(?:_context)?_linear_(?:in|out)$"),
        Mark(r"^single_blocks_#_linear1$", ratio=9),
        Mark(r"double_blocks_#_(?:img|txt)_mlp_#$", ratio=6),
        Mark(r"^(?:double|single)_blocks_#_(?:(?:img|txt)_attn|linear1)", (6144, 4096)),
        Mark(r"^transformer_blocks_#_attn_(?:to_[qkv]|to_out_#)$", (6144,)),
        Mark(r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out)$", (6144, 4096)),
    ),
    _transformer("chroma", "Chroma", Mark(r"^distilled_guidance_layer_")),
    _transformer(
        "hunyuan-video",
        "HunyuanVideo",
        Mark(r"(?:token_refiner|individual_token_refiner)", (3072,)),
        Mark(r"^single_(?:transformer_)?blocks_#_", (3072, 15360), (39, 40)),
        Mark(r"^double_blocks_#_", (3072,), (20, 20)),
        Mark(r"^transformer_blocks_#_norm1_context_linear", (3072,), (20, 20)),
    ),
    _transformer(
        "hunyuan-video-1.5", "HunyuanVideo 1.5", Mark(r"token_refiner", (2048,)), Mark(r"^cond_type_embed(?:ding)?$")
    ),
    _transformer(
        "hunyuan-image",
        "HunyuanImage",
        Mark(r"token_refiner", (3584,)),
        Mark(r"^(?:double|single)_blocks_#_", (3584,)),
        Mark(r"^(?:single_)?transformer_blocks_#_attn_to_[qkv]$", (3584,)),
    ),
    _transformer(
        "auraflow",
        "AuraFlow",
        Mark(r"joint_transformer_blocks_#_"),
        Mark(r"^(?:double|single)_layers_#_(?:attn|mlp)"),
        Mark(r"^cond_seq_linear$"),
        Mark(r"^single_transformer_blocks_#_(?:ff_|norm1_|attn_to_out_#)"),
    ),
    _transformer("longcat-image", "LongCat-Image", Mark(r"^context_embedder$", (3584,))),
    _transformer(
        "ovis-image",
        "Ovis-Image",
        Mark(r"^context_embedder$", (2048,)),
        Mark(r"single_transformer_blocks_#_proj_mlp$", ratio=8),
    ),
    _transformer(
        "bria", "Bria", Mark(r"^time_embed_timestep_embedder_linear_#$", (256,), without="pooler|^adaln|time_text")
    ),
    _transformer(
        "flux1",
        "FLUX.1",
        Mark(r"^single_transformer_blocks_#_(?:attn_to_[qkv]|proj_mlp|proj_out|norm_linear)$", (3072, 15360)),
        Mark(r"^single_blocks_#_(?:linear[12]|modulation_lin|processor)", (3072, 15360)),
        Mark(
            r"^double_blocks_#_(?:img|txt)_(?:attn|mlp|mod)|double_blocks_#_(?:processor_)?(?:qkv|proj)_lora",
            (3072, 12288),
        ),
        Mark(
            r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out|to_[qkv]|to_out_#)$",
            (3072,),
            (1, 19),
            without=r"img_mlp|txt_mlp|img_mod|txt_mod",
        ),
        Mark(r"^transformer_blocks_#_(?:ff|ff_context)_net_#", (3072, 12288), (1, 19), without="attn[12]_"),
    ),
    _transformer(
        "qwen-image-2.1",
        "Qwen-Image 2.1",
        Mark(r"transformer_blocks_#_img_mlp_gate_layer$"),
        Mark(r"^txt_in_text_norm$"),
        Mark(r"^transformer_blocks_#_(?:attn_to_[qkv]|attn_to_out_#|img_mlp_proj)$", (4096,)),
    ),
    _transformer(
        "qwen-image",
        "Qwen-Image",
        Mark(r"^transformer_blocks_#_(?:img|txt)_(?:mod|mlp)_"),
        Mark(r"^txt_norm$"),
        Mark(r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out|to_[qkv]|to_out_#)$", (3072,), (20, 60)),
    ),
    _transformer(
        "sd3",
        "SD 3",
        Mark(r"^joint_blocks_#_(?:x_block|context_block)_"),
        Mark(r"^transformer_blocks_#_attn_(?:add_[qkv]_proj|to_add_out|to_[qkv]|to_out_#)$", (1152, 1536, 2432)),
    ),
    _transformer(
        "z-image",
        "Z-Image",
        Mark(r"^(?:layers|noise_refiner|context_refiner)_#_(?:attention_|feed_forward_w[13]$|adaLN)", (3840,)),
        Mark(r"^layers_#_adaLN_modulation_#$", (256,), ratio=60),
        Mark(r"^all_x_embedder_"),
    ),
    _transformer(
        "ideogram4",
        "Ideogram 4",
        Mark(r"^llm_cond_proj$"),
        Mark(r"^layers_#_(?:attention_|feed_forward_w[13]$)", (4608,)),
    ),
    _transformer(
        "lumina2",
        "Lumina 2",
        Mark(r"^(?:layers|noise_refiner|context_refiner)_#_(?:attn|attention|feed_forward)_", (2304,)),
        Mark(r"^cap_embedder_#$", (2304,)),
        Mark(r"^time_caption_embed_caption_embedder_#$", (2304,)),
    ),
    _transformer("ernie-image", "ERNIE-Image", Mark(r"^layers_#_self_attention_to_", (3072,))),
    _transformer("anima", "Anima", Mark(r"^llm_adapter_")),
    _transformer(
        "cosmos",
        "Cosmos",
        Mark(r"^blocks_#_(?:self|cross)_attn_(?:q|k|v|output)_proj$"),
        Mark(r"^blocks_block#?_?.*_blocks_#_block_attn"),
        Mark(r"transformer_blocks_#_norm[123]_linear_#$", (4096, 2048, 5120, 256)),
        Mark(r"transformer_blocks_#_attn2_to_[kv]$", (1024,)),
    ),
    _transformer(
        "wan",
        "Wan",
        Mark(r"^blocks_#_(?:self_attn|cross_attn)_(?:[qkvo]|[kv]_img)$"),
        Mark(r"^blocks_#_attn[12]_(?:to_[qkv]|to_out_#|add_[kv]_proj)$", (1536, 3072, 5120)),
        Mark(r"^blocks_#_ffn_(?:net_)?#", (1536, 3072, 5120, 8960, 13824, 14336)),
        Mark(r"^head_modulation$"),
        Mark(r"^vace_blocks_#_"),
    ),
    _transformer(
        "hunyuan-dit", "Hunyuan-DiT", Mark(r"^blocks_#_attn[12]_(?:to_[qkv]|Wqkv|q_proj|kv_proj)", (1408, 1024))
    ),
    _transformer("kandinsky", "Kandinsky 5", Mark(r"(?:visual|text)_transformer_blocks_#_")),
    _transformer("hidream", "HiDream", Mark(r"(?:double|single)_stream_blocks_#_block_")),
    _transformer(
        "mochi",
        "Mochi",
        Mark(r"transformer_blocks_#_attn1_(?:add_[qkv]_proj|to_add_out)$"),
        Mark(r"^blocks_#_attn_(?:qkv|proj)_[xy]$"),
    ),
    _transformer(
        "ltx2",
        "LTX-2",
        Mark(r"transformer_blocks_#_(?:audio_attn|audio_to_video|video_to_audio|audio_ff|av_ca)"),
        Mark(r"^transformer_blocks_#_attn2_(?:to_[qkv]|to_out_#)$", (4096,)),
        Mark(r"^av_ca_"),
    ),
    _transformer(
        "ltx",
        "LTX-Video",
        Mark(
            r"^transformer_blocks_#_attn[12]_(?:to_[qkv]|to_out_#)$",
            (2048,),
            without=rf"(?:{_UNET})|patch_embed_text_proj|embedding_proj",
        ),
        Mark(r"^patchify_proj$"),
    ),
    _transformer(
        "sana",
        "Sana",
        Mark(r"transformer_blocks_#_ff_conv_(?:inverted|point|depth)"),
        Mark(r"^blocks_#_cross_attn_(?:q|kv)_linear$"),
        Mark(r"^transformer_blocks_#_attn[12]_(?:to_[qkv]|to_out_#)$", (2240,)),
    ),
    _transformer(
        "pixart",
        "PixArt",
        Mark(r"^transformer_blocks_#_attn2_(?:to_[qkv]|to_out_#)$", (1152,)),
        Mark(r"^adaln_single_", (1152, 256), without="ff_conv"),
        Mark(r"^blocks_#_cross_attn_(?:q|kv)_linear$", (1152,)),
    ),
    _transformer(
        "cogview",
        "CogView 4",
        Mark(r"^time_condition_embed_"),
        Mark(r"^transformer_blocks_#_attn1_(?:to_[qkv]|to_out_#)$", (2560, 4096), without="attn2_"),
    ),
    _transformer(
        "cogvideox",
        "CogVideoX",
        Mark(r"^transformer_blocks_#_attn1_(?:to_[qkv]|to_out_#)$", (1920, 3072), without="attn2_"),
        Mark(r"^transformer_blocks_#_norm[12]_linear$", (512,), without="attn_"),
    ),
    _transformer("dit", "DiT", Mark(r"transformer_blocks_#_norm1_emb_class_embedder")),
    _transformer("prx", "PRX", Mark(r"^blocks_#_attention_(?:img_qkv|txt_kv)_proj$")),
    _transformer("kandinsky2-prior", "the Kandinsky 2 prior", Mark(r"^embedding_proj$|^encoder_hidden_states_proj$")),
    _unet(
        "cascade",
        "Stable Cascade",
        Mark(r"^clip_txt_(?:pooled_)?mapper$"),
        Mark(r"(?:down|up)_blocks_#_#_(?:channelwise_#|kv_mapper_#|mapper_sca)"),
    ),
)
"""In this order: the first that bears a mark has it, so what is told by little stands below what is told by much."""
