"""Every problem code: its title and the exit status it leads to. `pages/` has one page for each.

Codes are never reused. 1xx text, 2xx shape, 3xx rules between fields, 4xx sources, 5xx base, 6xx adapters,
7xx execution, 8xx records, 9xx command line. A code that starts with W is a warning.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NO = 1
"""The recipe is invalid, or its parts do not fit together."""
USAGE = 2
"""The command line is wrong."""
COULD_NOT = 3
"""The command cannot continue: something is missing, damaged, or too small."""
BUG = 4
"""A bug in recipe_runner."""
INTERRUPTED = 130
"""The user interrupted the command."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code's title, and the exit status of a command whose most severe problem has this code."""

    title: str
    exit_status: int = NO


CODES: Mapping[str, Code] = MappingProxyType(
    {
        # The text of the document
        "E101": Code("the file is not UTF-8 text"),
        "E102": Code("recipes cannot contain control characters"),
        "E103": Code("the file is too large"),
        "E104": Code("the text is not YAML"),
        "E105": Code("a tab is used for indentation"),
        "E106": Code("the file is empty"),
        "E107": Code("more than one document in a file"),
        "E108": Code("duplicate key"),
        "E109": Code("a key is not text"),
        "E110": Code("merge keys are not supported"),
        "E111": Code("tags are not supported"),
        "E112": Code("an alias inside its own anchor"),
        "E113": Code("too many values"),
        "E114": Code("nested too deeply"),
        "E115": Code("the document is not a mapping"),
        "E116": Code("an integer is too large"),
        "E117": Code("a number is not finite"),
        "E118": Code("the file cannot be read", COULD_NOT),
        # The shape of a recipe
        "E201": Code("unknown key"),
        "E202": Code("a key is missing"),
        "E203": Code("wrong type"),
        "E204": Code("not one of the allowed values"),
        "E205": Code("wrong format"),
        "E206": Code("number out of range"),
        "E207": Code("an empty value where one is required"),
        "E208": Code("too long"),
        "E209": Code("not a multiple of the step"),
        "E210": Code("unknown format version"),
        "E211": Code("not a valid name"),
        # Rules between fields, the matrix, overrides
        "E301": Code("an override is not path=value"),
        "E302": Code("an override's path does not exist"),
        "E303": Code("an override's value is not YAML"),
        "E305": Code("a matrix axis is not a path of the recipe"),
        "E306": Code("invalid value in a matrix axis"),
        "E307": Code("two matrix axes set the same value"),
        "E308": Code("this value cannot be a matrix axis"),
        "E309": Code("too many images"),
        "E310": Code("duplicate prompt id"),
        "E311": Code("duplicate seed"),
        "E312": Code("negative seed"),
        "E313": Code("an image for an unknown adapter"),
        "E314": Code("an image for an adapter that takes no images"),
        "E315": Code("an unknown block in a scale"),
        "E316": Code("a merge of an unknown adapter"),
        "E317": Code("only loras can be merged"),
        "E318": Code("duplicate adapter in a merge"),
        "E319": Code("a merge needs one weight for each adapter"),
        "E320": Code("the merge method does not take this option"),
        "E321": Code("an image prompt adapter without an image"),
        "E323": Code("not an argument of the pipeline call"),
        "E324": Code("recipe_runner sets this argument itself"),
        "E325": Code("unknown scheduler class"),
        "E326": Code("unknown scheduler configuration key"),
        "E327": Code("unknown pipeline class"),
        "E328": Code("a pipeline that does not make images from text"),
        "E329": Code("unknown component"),
        "E330": Code("a pickled weights file"),
        "E333": Code("the merge method needs a density"),
        "E334": Code("the pipeline does not take this adapter"),
        "E336": Code("the pipeline does not take this prompt"),
        "E339": Code("duplicate token of textual inversions"),
        "W331": Code("no prompt contains the token of a textual inversion"),
        "W332": Code("duplicate value in a matrix axis"),
        "W335": Code("an empty mapping"),
        # Sources and weights files
        "E401": Code("no such file or folder", COULD_NOT),
        "E402": Code("not in the local Hub cache", COULD_NOT),
        "E403": Code("the URL was not downloaded yet", COULD_NOT),
        "E404": Code("no weights file, or several, in a folder", COULD_NOT),
        "E405": Code("the address cannot be used"),
        "E406": Code("a pickled file is refused", COULD_NOT),
        "E407": Code("a broken configuration file", COULD_NOT),
        "E408": Code("the model's own code is refused"),
        "E409": Code("not every component has the variant"),
        "E410": Code("a broken safetensors file", COULD_NOT),
        "E411": Code("a pointer or web page instead of weights", COULD_NOT),
        "E412": Code("not a weights file", COULD_NOT),
        "E414": Code("the file changes while it is read", COULD_NOT),
        "E415": Code("the file cannot be read", COULD_NOT),
        "E416": Code("a part of the model is missing", COULD_NOT),
        "E417": Code("not a checkpoint of a known architecture", COULD_NOT),
        "E418": Code("the base has no such component"),
        "E419": Code("a single file needs its configuration", COULD_NOT),
        "E420": Code("a broken pickled file", COULD_NOT),
        "E421": Code("a broken GGUF file", COULD_NOT),
        "E422": Code("a configuration asks for more than is supported"),
        "E430": Code("a file differs from the lock"),
        "E431": Code("the lock is missing"),
        "E432": Code("the lock is stale"),
        "E433": Code("the repository is gated", COULD_NOT),
        "E434": Code("no such repository, or no access to it", COULD_NOT),
        "E435": Code("no such revision", COULD_NOT),
        "E436": Code("a server cannot be reached", COULD_NOT),
        "E437": Code("a download is damaged", COULD_NOT),
        "E438": Code("a server refuses a file", COULD_NOT),
        "E439": Code("a secret in an address"),
        "E442": Code("the lock has no such entry", USAGE),
        "E443": Code("a redirect is refused", COULD_NOT),
        "E444": Code("ambiguous files in a component's folder"),
        "E445": Code("not a concrete class"),
        "E446": Code("a setting of the model is refused"),
        "E447": Code("a connection setting cannot be used", COULD_NOT),
        "W430": Code("a source that can change"),
        "W431": Code("the lock does not cover a source"),
        "W432": Code("locked with other library versions"),
        # The base
        "E501": Code("parameters are missing from a weights file"),
        "E502": Code("unexpected tensors in a weights file"),
        "E503": Code("parameters have the wrong shape"),
        "E504": Code("parameters were not loaded"),
        "E505": Code("the pipeline class does not match the model"),
        "E506": Code("a component of the wrong type"),
        "E507": Code("components do not fit each other"),
        "E508": Code("a weights file changed while it was used", COULD_NOT),
        "W509": Code("a checkpoint does not say what it predicts"),
        "E510": Code("unknown scheduler parameter"),
        "E511": Code("the scheduler rejects its configuration"),
        "E512": Code("a component cannot be replaced or left out"),
        "E513": Code("a component cannot be loaded", COULD_NOT),
        "E514": Code("unknown class"),
        "E516": Code("a checkpoint lacks a component"),
        "E517": Code("a configuration that contradicts the weights"),
        # Adapters
        "E601": Code("tensors of an adapter do not fit the base"),
        "E602": Code("no tensor of an adapter fits the base"),
        "E605": Code("an adapter's metadata contradicts its tensors"),
        "E606": Code("an adapter was not applied whole", COULD_NOT),
        "E607": Code("an adapter's tensors cannot be read", COULD_NOT),
        "E609": Code("the file states its own alpha"),
        "E611": Code("a scale names nothing of the base"),
        "E612": Code("a scale list of the wrong length"),
        "E613": Code("a scale names nothing of the adapter"),
        "E616": Code("weights of an adapter that are not floating point numbers"),
        "E620": Code("an embedding without a token"),
        "E621": Code("not a textual inversion"),
        "E622": Code("an embedding does not fit the base's text encoders"),
        "E623": Code("an embedding without vectors for one text encoder"),
        "E624": Code("two adapters use the same token"),
        "E625": Code("an adapter contains NaN or infinity"),
        "W626": Code("a mask of one colour"),
        "E627": Code("an embedding file cannot be read", COULD_NOT),
        "E630": Code("a merge of adapters that are not plain LoRA"),
        "E631": Code("a bias difference for a module without a bias"),
        "E632": Code("alpha for a file without ranks"),
        "E633": Code("an adapter cannot be exported"),
        "E634": Code("ranks that the method cannot merge"),
        "E635": Code("an adapter has no exact form in diffusers' layout"),
        "E640": Code("not a supported IP-Adapter"),
        "E641": Code("an incomplete IP-Adapter file"),
        "E642": Code("an IP-Adapter does not fit the base"),
        "E643": Code("an image encoder is missing, or not needed"),
        "E644": Code("an image encoder does not fit the IP-Adapter"),
        "E645": Code("images where embeddings are needed, or the reverse"),
        "E646": Code("an embedding cannot be used"),
        "E647": Code("the number of masks differs from the number of images"),
        "E648": Code("an image cannot be used", COULD_NOT),
        "E649": Code("IP-Adapters are not supported for this pipeline"),
        "E650": Code("shortcut for an adapter other than FaceID Plus"),
        "E651": Code("faces cannot be found in images", COULD_NOT),
        "E652": Code("not exactly one face in an image"),
        "E656": Code("an IP-Adapter option that the base does not support"),
        # Execution
        "E701": Code("device not found", COULD_NOT),
        "E702": Code("CUDA started too early", COULD_NOT),
        "E703": Code("out of memory", COULD_NOT),
        "E704": Code("an operation failed", COULD_NOT),
        "E705": Code("numbers that are not finite", COULD_NOT),
        "E706": Code("not an argument of the pipeline's call"),
        "E708": Code("noise that does not depend on the seed", COULD_NOT),
        "W751": Code("a prompt is longer than its text encoder reads"),
        "W753": Code("a text encoder has not learned a token"),
        "W754": Code("no prompt uses the learned tokens of a LoRA"),
        "W752": Code("the safety checker made an image black"),
        "W755": Code("a negative prompt without effect"),
        "W758": Code("a mask has another shape than the images"),
        "W760": Code("the weights are larger than the device's memory"),
        "W761": Code("the device does not compute in this dtype"),
        "W762": Code("a source was not checked"),
        "W763": Code("an adapter of another family fits all the same"),
        "W764": Code("another program's notation in a prompt"),
        # Records
        "E801": Code("a file of the record cannot be written", COULD_NOT),
        "E802": Code("a file of the record cannot be read", COULD_NOT),
        "E803": Code("another process is working in the run folder", COULD_NOT),
        "E804": Code("not a manifest", COULD_NOT),
        "E805": Code("a path that leaves its folder"),
        "E806": Code("not a picture that can be read", COULD_NOT),
        "E807": Code("a picture that the format cannot hold"),
        "E813": Code("what the runs of a store use cannot be known", COULD_NOT),
        "E830": Code("two things of different kinds", COULD_NOT),
        "E831": Code("nothing to compare", COULD_NOT),
        "E832": Code("no such image"),
        # Other programs' files
        "E850": Code("nothing says how an image was made", COULD_NOT),
        "E851": Code("a damaged image", COULD_NOT),
        "E852": Code("neither an image nor text", COULD_NOT),
        "E853": Code("a text without a prompt or settings", COULD_NOT),
        "E854": Code("the recipe of a text would not be valid", COULD_NOT),
        "E855": Code("the file to import cannot be read", COULD_NOT),
        "W850": Code("something was not carried over"),
        "E860": Code("the export makes different images"),
        "E861": Code("the format does not support this pipeline"),
        "E870": Code("MLflow is not installed", COULD_NOT),
        "E871": Code("MLflow reports an error", COULD_NOT),
        "W851": Code("an export that does not say everything"),
        "E810": Code("a source of the run is not on this machine", COULD_NOT),
        "E811": Code("the run has no such image", USAGE),
        "E812": Code("images could not be made again", COULD_NOT),
        # Command line
        "E901": Code("a bug in recipe-runner", BUG),
        "E902": Code("the file exists"),
        "E903": Code("operating system error", COULD_NOT),
        "E904": Code("a library cannot be loaded", COULD_NOT),
        "E905": Code("not supported on this system", COULD_NOT),
    }
)


def explain(code: str) -> str:
    """The page of `code`, as Markdown.

    Raises:
        KeyError: unknown code.
    """
    if code not in CODES:
        raise KeyError(code)
    from importlib.resources import files  # noqa: PLC0415 - only when a page is wanted

    return (files("recipe_runner.problems") / "pages" / code[:3] / f"{code}.md").read_text(encoding="utf-8")
