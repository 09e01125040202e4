"""IP-Adapter files, from their headers alone: which of the layouts, whether whole, and whether they fit a UNet."""

from recipe_runner.weights.ip_adapter.bundled_lora import bundled_lora
from recipe_runner.weights.ip_adapter.encoder import check_encoder
from recipe_runner.weights.ip_adapter.fit import AttentionPlace, fit_ip_adapter, unet_attentions
from recipe_runner.weights.ip_adapter.layout import NAMES, IpAdapterLayout, Variant
from recipe_runner.weights.ip_adapter.needs import Features, Shown, check_shown
from recipe_runner.weights.ip_adapter.read import identify_ip_adapter, read_ip_adapter
from recipe_runner.weights.ip_adapter.scales import expand_ip_scale, is_off

__all__ = [
    "NAMES",
    "AttentionPlace",
    "Features",
    "IpAdapterLayout",
    "Shown",
    "Variant",
    "bundled_lora",
    "check_encoder",
    "check_shown",
    "expand_ip_scale",
    "fit_ip_adapter",
    "identify_ip_adapter",
    "is_off",
    "read_ip_adapter",
    "unet_attentions",
]
