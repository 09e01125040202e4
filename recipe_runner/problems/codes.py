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
class ProblemCode:
    """A code's title, and the exit status of a command whose most severe problem has this code."""

    title: str
    exit_status: int = NO


CODES: Mapping[str, ProblemCode] = MappingProxyType(
    {
        # The text of the document
        "E101": ProblemCode("the file is not UTF-8 text"),
        "E102": ProblemCode("recipes cannot contain control characters"),
        "E103": ProblemCode("the file is too large"),
        "E104": ProblemCode("the text is not YAML"),
        "E105": ProblemCode("a tab is used for indentation"),
        "E106": ProblemCode("the file is empty"),
        "E107": ProblemCode("more than one document in a file"),
        "E108": ProblemCode("duplicate key"),
        "E109": ProblemCode("a key is not text"),
        "E110": ProblemCode("merge keys are not supported"),
        "E111": ProblemCode("tags are not supported"),
        "E112": ProblemCode("an alias inside its own anchor"),
        "E113": ProblemCode("too many values"),
        "E114": ProblemCode("nested too deeply"),
        "E115": ProblemCode("the document is not a mapping"),
        "E116": ProblemCode("an integer is too large"),
        "E117": ProblemCode("a number is not finite"),
        "E118": ProblemCode("the file cannot be read", COULD_NOT),
        # The shape of a recipe
        "E201": ProblemCode("unknown key"),
        "E202": ProblemCode("a key is missing"),
        "E203": ProblemCode("wrong type"),
        "E204": ProblemCode("not one of the allowed values"),
        "E205": ProblemCode("wrong format"),
        "E206": ProblemCode("number out of range"),
        "E207": ProblemCode("an empty value where one is required"),
        "E208": ProblemCode("too long"),
        "E209": ProblemCode("not a multiple of the step"),
        "E210": ProblemCode("unknown format version"),
        "E211": ProblemCode("not a valid name"),
        # Rules between fields, the matrix, overrides
        "E301": ProblemCode("an override is not path=value"),
        "E302": ProblemCode("an override's path does not exist"),
        "E303": ProblemCode("an override's value is not YAML"),
        "E305": ProblemCode("a matrix axis is not a path of the recipe"),
        "E306": ProblemCode("invalid value in a matrix axis"),
        "E307": ProblemCode("two matrix axes set the same value"),
        "E308": ProblemCode("this value cannot be a matrix axis"),
        "E309": ProblemCode("too many images"),
        "E310": ProblemCode("duplicate prompt id"),
        "E311": ProblemCode("duplicate seed"),
        "E312": ProblemCode("negative seed"),
        "E313": ProblemCode("an image for an unknown adapter"),
        "E314": ProblemCode("an image for an adapter that takes no images"),
        "E315": ProblemCode("an unknown block in a scale"),
        "E316": ProblemCode("a merge of an unknown adapter"),
        "E317": ProblemCode("only loras can be merged"),
        "E318": ProblemCode("duplicate adapter in a merge"),
        "E319": ProblemCode("a merge needs one weight for each adapter"),
        "E320": ProblemCode("the merge method does not take this option"),
        "E321": ProblemCode("an image prompt adapter without an image"),
        "E323": ProblemCode("not an argument of the pipeline call"),
        "E324": ProblemCode("recipe_runner sets this argument itself"),
        "E325": ProblemCode("unknown scheduler class"),
        "E326": ProblemCode("unknown scheduler configuration key"),
        "E327": ProblemCode("unknown pipeline class"),
        "E328": ProblemCode("a pipeline that does not make images from text"),
        "E329": ProblemCode("unknown component"),
        "E330": ProblemCode("a pickled weights file"),
        "E333": ProblemCode("the merge method needs a density"),
        "E334": ProblemCode("the pipeline does not take this adapter"),
        "E336": ProblemCode("the pipeline does not take this prompt"),
        "E339": ProblemCode("duplicate token of textual inversions"),
        "W331": ProblemCode("no prompt contains the token of a textual inversion"),
        "W332": ProblemCode("duplicate value in a matrix axis"),
        "W335": ProblemCode("an empty mapping"),
        # Sources and weights files
        "E401": ProblemCode("no such file or folder", COULD_NOT),
        "E402": ProblemCode("not in the local Hub cache", COULD_NOT),
        "E403": ProblemCode("the URL was not downloaded yet", COULD_NOT),
        "E404": ProblemCode("no weights file, or several, in a folder", COULD_NOT),
        "E405": ProblemCode("the address cannot be used"),
        "E406": ProblemCode("a pickled file is refused", COULD_NOT),
        "E407": ProblemCode("a broken configuration file", COULD_NOT),
        "E408": ProblemCode("the model's own code is refused"),
        "E409": ProblemCode("not every component has the variant"),
        "E410": ProblemCode("a broken safetensors file", COULD_NOT),
        "E411": ProblemCode("a pointer or web page instead of weights", COULD_NOT),
        "E412": ProblemCode("not a weights file", COULD_NOT),
        "E414": ProblemCode("the file changes while it is read", COULD_NOT),
        "E415": ProblemCode("the file cannot be read", COULD_NOT),
        "E416": ProblemCode("a part of the model is missing", COULD_NOT),
        "E417": ProblemCode("not a checkpoint of a known architecture", COULD_NOT),
        "E418": ProblemCode("the base has no such component"),
        "E419": ProblemCode("a single file needs its configuration", COULD_NOT),
        "E420": ProblemCode("a broken pickled file", COULD_NOT),
        "E421": ProblemCode("a broken GGUF file", COULD_NOT),
        "E422": ProblemCode("a configuration asks for more than is supported"),
        "E430": ProblemCode("a file differs from the lock"),
        "E431": ProblemCode("the lock is missing"),
        "E432": ProblemCode("the lock is stale"),
        "E433": ProblemCode("the repository is gated", COULD_NOT),
        "E434": ProblemCode("no such repository, or no access to it", COULD_NOT),
        "E435": ProblemCode("no such revision", COULD_NOT),
        "E436": ProblemCode("a server cannot be reached", COULD_NOT),
        "E437": ProblemCode("a download is damaged", COULD_NOT),
        "E438": ProblemCode("a server refuses a file", COULD_NOT),
        "E439": ProblemCode("a secret in an address"),
        "E442": ProblemCode("the lock has no such entry", USAGE),
        "E443": ProblemCode("a redirect is refused", COULD_NOT),
        "E444": ProblemCode("ambiguous files in a component's folder"),
        "E445": ProblemCode("not a concrete class"),
        "E446": ProblemCode("a setting of the model is refused"),
        "E447": ProblemCode("a connection setting cannot be used", COULD_NOT),
        "W430": ProblemCode("a source that can change"),
        "W431": ProblemCode("the lock does not cover a source"),
        "W432": ProblemCode("locked with other library versions"),
        # The base
        "E501": ProblemCode("parameters are missing from a weights file"),
        "E502": ProblemCode("unexpected tensors in a weights file"),
        "E503": ProblemCode("parameters have the wrong shape"),
        "E504": ProblemCode("parameters were not loaded"),
        "E505": ProblemCode("the pipeline class does not match the model"),
        "E506": ProblemCode("a component of the wrong type"),
        "E507": ProblemCode("components do not fit each other"),
        "E508": ProblemCode("a weights file changed while it was used", COULD_NOT),
        "W509": ProblemCode("a checkpoint does not say what it predicts"),
        "E510": ProblemCode("unknown scheduler parameter"),
        "E511": ProblemCode("the scheduler rejects its configuration"),
        "E512": ProblemCode("a component cannot be replaced or left out"),
        "E513": ProblemCode("a component cannot be loaded", COULD_NOT),
        "E514": ProblemCode("unknown class"),
        "E516": ProblemCode("a checkpoint lacks a component"),
        "E517": ProblemCode("a configuration that contradicts the weights"),
        # Adapters
        "E601": ProblemCode("tensors of an adapter do not fit the base"),
        "E602": ProblemCode("no tensor of an adapter fits the base"),
        "E605": ProblemCode("an adapter's metadata contradicts its tensors"),
        "E606": ProblemCode("an adapter was not applied whole", COULD_NOT),
        "E607": ProblemCode("an adapter's tensors cannot be read", COULD_NOT),
        "E609": ProblemCode("the file states its own alpha"),
        "E611": ProblemCode("a scale names nothing of the base"),
        "E612": ProblemCode("a scale list of the wrong length"),
        "E613": ProblemCode("a scale names nothing of the adapter"),
        "E616": ProblemCode("weights of an adapter that are not floating point numbers"),
        "E620": ProblemCode("an embedding without a token"),
        "E621": ProblemCode("not a textual inversion"),
        "E622": ProblemCode("an embedding does not fit the base's text encoders"),
        "E623": ProblemCode("an embedding without vectors for one text encoder"),
        "E624": ProblemCode("two adapters use the same token"),
        "E625": ProblemCode("an adapter contains NaN or infinity"),
        "W626": ProblemCode("a mask of one colour"),
        "E627": ProblemCode("an embedding file cannot be read", COULD_NOT),
        "E630": ProblemCode("a merge of adapters that are not plain LoRA"),
        "E631": ProblemCode("a bias difference for a module without a bias"),
        "E632": ProblemCode("alpha for a file without ranks"),
        "E633": ProblemCode("an adapter cannot be exported"),
        "E634": ProblemCode("ranks that the method cannot merge"),
        "E635": ProblemCode("an adapter has no exact form in diffusers' layout"),
        "E640": ProblemCode("not a supported IP-Adapter"),
        "E641": ProblemCode("an incomplete IP-Adapter file"),
        "E642": ProblemCode("an IP-Adapter does not fit the base"),
        "E643": ProblemCode("an image encoder is missing, or not needed"),
        "E644": ProblemCode("an image encoder does not fit the IP-Adapter"),
        "E645": ProblemCode("images where embeddings are needed, or the reverse"),
        "E646": ProblemCode("an embedding cannot be used"),
        "E647": ProblemCode("the number of masks differs from the number of images"),
        "E648": ProblemCode("an image cannot be used", COULD_NOT),
        "E649": ProblemCode("IP-Adapters are not supported for this pipeline"),
        "E650": ProblemCode("shortcut for an adapter other than FaceID Plus"),
        "E651": ProblemCode("faces cannot be found in images", COULD_NOT),
        "E652": ProblemCode("not exactly one face in an image"),
        "E656": ProblemCode("an IP-Adapter option that the base does not support"),
        # Execution
        "E701": ProblemCode("device not found", COULD_NOT),
        "E702": ProblemCode("CUDA started too early", COULD_NOT),
        "E703": ProblemCode("out of memory", COULD_NOT),
        "E704": ProblemCode("an operation failed", COULD_NOT),
        "E705": ProblemCode("numbers that are not finite", COULD_NOT),
        "E706": ProblemCode("not an argument of the pipeline's call"),
        "E708": ProblemCode("noise that does not depend on the seed", COULD_NOT),
        "W751": ProblemCode("a prompt is longer than its text encoder reads"),
        "W753": ProblemCode("a text encoder has not learned a token"),
        "W754": ProblemCode("no prompt uses the learned tokens of a LoRA"),
        "W752": ProblemCode("the safety checker made an image black"),
        "W755": ProblemCode("a negative prompt without effect"),
        "W758": ProblemCode("a mask has another shape than the images"),
        "W760": ProblemCode("the weights are larger than the device's memory"),
        "W761": ProblemCode("the device does not compute in this dtype"),
        "W762": ProblemCode("a source was not checked"),
        "W763": ProblemCode("an adapter of another family fits all the same"),
        "W764": ProblemCode("another program's notation in a prompt"),
        # Records
        "E801": ProblemCode("cannot write a file of a run", COULD_NOT),
        "E802": ProblemCode("cannot read a file of a run", COULD_NOT),
        "E803": ProblemCode("another process is using the run folder", COULD_NOT),
        "E804": ProblemCode("not a manifest", COULD_NOT),
        "E805": ProblemCode("a path leads out of its folder"),
        "E806": ProblemCode("not a readable image", COULD_NOT),
        "E807": ProblemCode("the image is too large for its format"),
        "E813": ProblemCode("cannot determine which images the runs use", COULD_NOT),
        "E830": ProblemCode("two things of different kinds", COULD_NOT),
        "E831": ProblemCode("nothing to compare", COULD_NOT),
        "E832": ProblemCode("no such image"),
        # Other programs' files
        "E850": ProblemCode("nothing says how an image was made", COULD_NOT),
        "E851": ProblemCode("a damaged image", COULD_NOT),
        "E852": ProblemCode("neither an image nor text", COULD_NOT),
        "E853": ProblemCode("a text without a prompt or settings", COULD_NOT),
        "E854": ProblemCode("the recipe of a text would not be valid", COULD_NOT),
        "E855": ProblemCode("the file to import cannot be read", COULD_NOT),
        "W850": ProblemCode("something was not carried over"),
        "E860": ProblemCode("the export makes different images"),
        "E861": ProblemCode("the format does not support this pipeline"),
        "E870": ProblemCode("MLflow is not installed", COULD_NOT),
        "E871": ProblemCode("MLflow reports an error", COULD_NOT),
        "W851": ProblemCode("an export that does not say everything"),
        "E810": ProblemCode("a source of the run is not on this machine", COULD_NOT),
        "E811": ProblemCode("the run has no such image", USAGE),
        "E812": ProblemCode("cannot make images again", COULD_NOT),
        # Command line
        "E901": ProblemCode("a bug in recipe-runner", BUG),
        "E902": ProblemCode("the file exists"),
        "E903": ProblemCode("operating system error", COULD_NOT),
        "E904": ProblemCode("a library cannot be loaded", COULD_NOT),
        "E905": ProblemCode("not supported on this system", COULD_NOT),
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
