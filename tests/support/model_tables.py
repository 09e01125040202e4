"""Classes of diffusers and transformers at the true sizes of published models, and what inspect must say of them."""

from __future__ import annotations

from typing import Any

import transformers

MODELS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # name: class of diffusers, arguments, what inspect must say
    "sd3-medium": (
        "SD3Transformer2DModel",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192},
        {"kind": "transformer", "family": "sd3"},
    ),
    "sd3-large": (
        "SD3Transformer2DModel",
        {"num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432},
        {"kind": "transformer", "family": "sd3"},
    ),
    "flux1": ("FluxTransformer2DModel", {"guidance_embeds": True}, {"kind": "transformer", "family": "flux1"}),
    "flux2": ("Flux2Transformer2DModel", {}, {"kind": "transformer", "family": "flux2"}),
    "chroma": ("ChromaTransformer2DModel", {}, {"kind": "transformer", "family": "chroma"}),
    "qwen-image": ("QwenImageTransformer2DModel", {}, {"kind": "transformer", "family": "qwen-image"}),
    "z-image": ("ZImageTransformer2DModel", {}, {"kind": "transformer", "family": "z-image"}),
    "wan-14b": ("WanTransformer3DModel", {}, {"kind": "transformer", "family": "wan"}),
    "wan-1.3b": (
        "WanTransformer3DModel",
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
        {"kind": "transformer", "family": "wan"},
    ),
    "krea2": ("Krea2Transformer2DModel", {}, {"kind": "transformer", "family": "krea2"}),
    "hunyuan-video": ("HunyuanVideoTransformer3DModel", {}, {"kind": "transformer", "family": "hunyuan-video"}),
    "ltx": ("LTXVideoTransformer3DModel", {}, {"kind": "transformer", "family": "ltx"}),
    "lumina2": ("Lumina2Transformer2DModel", {}, {"kind": "transformer", "family": "lumina2"}),
    "auraflow": ("AuraFlowTransformer2DModel", {}, {"kind": "transformer", "family": "auraflow"}),
    "pixart": (
        "PixArtTransformer2DModel",
        {"out_channels": 8, "caption_channels": 4096},
        {"kind": "transformer", "family": "pixart"},
    ),
    "sana": ("SanaTransformer2DModel", {}, {"kind": "transformer", "family": "sana"}),
    "cogvideox-2b": ("CogVideoXTransformer3DModel", {}, {"kind": "transformer", "family": "cogvideox"}),
    "cogvideox-5b": (
        "CogVideoXTransformer3DModel",
        {"num_attention_heads": 48, "num_layers": 42},
        {"kind": "transformer", "family": "cogvideox"},
    ),
    "mochi": ("MochiTransformer3DModel", {}, {"kind": "transformer", "family": "mochi"}),
    "cogview4": (
        "CogView4Transformer2DModel",
        {"num_attention_heads": 32, "attention_head_dim": 128, "num_layers": 28},
        {"kind": "transformer", "family": "cogview"},
    ),
    "hidream": (
        "HiDreamImageTransformer2DModel",
        {
            "patch_size": 2,
            "in_channels": 16,
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 128,
            "num_attention_heads": 20,
            "caption_channels": [4096, 4096],
            "text_emb_dim": 2048,
            "num_routed_experts": 4,
            "num_activated_experts": 2,
            "axes_dims_rope": (64, 32, 32),
            "llama_layers": [0, 1],
        },
        {"kind": "transformer", "family": "hidream"},
    ),
    "kandinsky5": ("Kandinsky5Transformer3DModel", {}, {"kind": "transformer", "family": "kandinsky"}),
    "cascade-prior": (
        "StableCascadeUNet",
        {
            "in_channels": 16,
            "out_channels": 16,
            "timestep_ratio_embedding_dim": 64,
            "patch_size": 1,
            "conditioning_dim": 2048,
            "block_out_channels": (2048, 2048),
            "num_attention_heads": (32, 32),
            "clip_text_in_channels": 1280,
            "clip_text_pooled_in_channels": 1280,
            "clip_image_in_channels": 768,
        },
        {"kind": "unet", "family": "cascade"},
    ),
    "cosmos": ("CosmosTransformer3DModel", {}, {"kind": "transformer", "family": "cosmos"}),
    "svd": ("UNetSpatioTemporalConditionModel", {}, {"kind": "unet", "family": "svd"}),
    "vae-sd": (
        "AutoencoderKL",
        {
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        },
        {"kind": "vae", "family": None},
    ),
    "vae-16-channels": (
        "AutoencoderKL",
        {
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 16,
            "use_quant_conv": False,
            "use_post_quant_conv": False,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        },
        {"kind": "vae", "family": None},
    ),
    "vae-flux2": ("AutoencoderKLFlux2", {}, {"kind": "vae", "family": "flux2"}),
    "vae-wan": ("AutoencoderKLWan", {}, {"kind": "vae", "variety": "Wan video"}),
    "vae-ltx": ("AutoencoderKLLTXVideo", {}, {"kind": "vae"}),
    "vae-dc-ae": ("AutoencoderDC", {}, {"kind": "vae", "family": "sana"}),
    "vae-tiny": ("AutoencoderTiny", {}, {"kind": "vae", "variety": "tiny (TAESD)"}),
    "vae-svd": ("AutoencoderKLTemporalDecoder", {}, {"kind": "vae", "family": "svd"}),
    "vae-cogvideox": ("AutoencoderKLCogVideoX", {}, {"kind": "vae"}),
    "vae-hunyuan-video": ("AutoencoderKLHunyuanVideo", {}, {"kind": "vae"}),
    "controlnet-flux1": (
        "FluxControlNetModel",
        {"num_layers": 5, "num_single_layers": 10},
        {"kind": "controlnet", "family": "flux1"},
    ),
    "controlnet-sd3": (
        "SD3ControlNetModel",
        {"num_layers": 12, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192},
        {"kind": "controlnet", "family": "sd3"},
    ),
    "controlnet-qwen-image": (
        "QwenImageControlNetModel",
        {"num_layers": 5},
        {"kind": "controlnet", "family": "qwen-image"},
    ),
    "t2i-adapter-sd1": ("T2IAdapter", {}, {"kind": "t2i_adapter", "family": "sd1"}),
    "t2i-adapter-sdxl": (
        "T2IAdapter",
        {"adapter_type": "full_adapter_xl", "downscale_factor": 16},
        {"kind": "t2i_adapter", "family": "sdxl"},
    ),
    "motion-adapter-sd1": ("MotionAdapter", {}, {"kind": "motion_adapter", "family": "sd1"}),
}

_CLIP_L: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
_CLIP_G: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
_VISION_H: dict[str, Any] = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "projection_dim": 1024,
}

ENCODERS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "text-encoder-clip-l": (
        "CLIPTextModel",
        lambda: transformers.CLIPTextConfig(**_CLIP_L),
        {"kind": "text_encoder", "variety": "CLIP ViT-L"},
    ),
    "text-encoder-clip-g": (
        "CLIPTextModelWithProjection",
        lambda: transformers.CLIPTextConfig(**_CLIP_G),
        {"kind": "text_encoder", "variety": "OpenCLIP ViT-bigG"},
    ),
    "text-encoder-t5-xxl": (
        "T5EncoderModel",
        lambda: transformers.T5Config(
            d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
        ),
        {"kind": "text_encoder", "variety": "T5 XXL"},
    ),
    "text-encoder-qwen3": (
        "Qwen3ForCausalLM",
        lambda: transformers.Qwen3Config(
            hidden_size=2560,
            num_hidden_layers=36,
            num_attention_heads=32,
            num_key_value_heads=8,
            intermediate_size=9728,
        ),
        {"kind": "text_encoder"},
    ),
    "text-encoder-gemma2": ("Gemma2Model", transformers.Gemma2Config, {"kind": "text_encoder"}),
    "image-encoder-vit-h": (
        "CLIPVisionModelWithProjection",
        lambda: transformers.CLIPVisionConfig(**_VISION_H),
        {"kind": "image_encoder", "variety": "CLIP ViT-H"},
    ),
    "image-encoder-siglip": (
        "SiglipVisionModel",
        lambda: transformers.SiglipVisionConfig(
            hidden_size=1152,
            intermediate_size=4304,
            num_hidden_layers=27,
            num_attention_heads=16,
            image_size=384,
            patch_size=14,
        ),
        {"kind": "image_encoder", "variety": "SigLIP"},
    ),
    "image-encoder-dinov2": (
        "Dinov2Model",
        lambda: transformers.Dinov2Config(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16),
        {"kind": "image_encoder", "variety": "DINOv2"},
    ),
}
