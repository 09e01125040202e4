"""IP-Adapter files, from their headers alone: which of the layouts, whether whole, and whether they fit a base."""

from recipe_runner.weights.ip_adapter.bundled_lora import bundled_lora
from recipe_runner.weights.ip_adapter.encoder import check_encoder
from recipe_runner.weights.ip_adapter.families import AdapterFamily, family_of_pipeline
from recipe_runner.weights.ip_adapter.fit import check_abilities, check_family, check_pipeline, fit_ip_adapter
from recipe_runner.weights.ip_adapter.layout import IpAdapterLayout
from recipe_runner.weights.ip_adapter.needs import ImagePromptShape, check_image_prompt
from recipe_runner.weights.ip_adapter.places import AttentionPlace, joint_attentions, unet_attentions
from recipe_runner.weights.ip_adapter.read import OF_INSTANTX, identify_ip_adapter, read_ip_adapter
from recipe_runner.weights.ip_adapter.scales import expand_ip_scale, is_off
from recipe_runner.weights.ip_adapter.variants import NAMES, READINGS, AdapterVariant, Features

__all__ = [
    "NAMES",
    "OF_INSTANTX",
    "READINGS",
    "AdapterFamily",
    "AdapterVariant",
    "AttentionPlace",
    "Features",
    "ImagePromptShape",
    "IpAdapterLayout",
    "bundled_lora",
    "check_abilities",
    "check_encoder",
    "check_family",
    "check_image_prompt",
    "check_pipeline",
    "expand_ip_scale",
    "family_of_pipeline",
    "fit_ip_adapter",
    "identify_ip_adapter",
    "is_off",
    "joint_attentions",
    "read_ip_adapter",
    "unet_attentions",
]
