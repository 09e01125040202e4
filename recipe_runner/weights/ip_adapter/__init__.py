"""IP-Adapter files, from their headers alone: which of the layouts, whether whole, and whether they fit a UNet."""

from recipe_runner.weights.ip_adapter.fit import AttentionPlace, fit_ip_adapter, unet_attentions
from recipe_runner.weights.ip_adapter.layout import NAMES, IpAdapterLayout, Variant
from recipe_runner.weights.ip_adapter.read import identify_ip_adapter, read_ip_adapter

__all__ = [
    "NAMES",
    "AttentionPlace",
    "IpAdapterLayout",
    "Variant",
    "fit_ip_adapter",
    "identify_ip_adapter",
    "read_ip_adapter",
    "unet_attentions",
]
