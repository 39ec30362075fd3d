"""Programs that say what they find: values, names and errors, which two libraries must agree on."""

import warnings


def plain(module, value):
    if isinstance(value, module.Tensor):
        return [round(float(v), 4) for v in value.detach().reshape(-1)]
    if isinstance(value, (tuple, list)):
        return [plain(module, v) for v in value]
    if isinstance(value, dict):
        return {k: plain(module, v) for k, v in value.items()}
    if isinstance(value, float):
        return round(value, 4)
    return value if isinstance(value, (str, int, bool, type(None))) else type(value).__name__


class Failure:
    """An error; PyTorch's says how many characters of its message have to be the same."""

    def __init__(self, kind, message, words):
        self.kind = kind
        self.message = message
        self.words = words

    def __eq__(self, theirs):
        return self.kind == theirs.kind and self.message.startswith(theirs.message[: theirs.words])

    __hash__ = None

    def __repr__(self):
        return f"{self.kind}: {self.message}"


class Programs(list):
    """The programs of a file, collected as its decorator."""

    def __call__(self, function):
        self.append(function)
        return function


def run(function, module):
    said = []

    def say(*values):
        said.append([plain(module, v) for v in values])

    def fails(call, words=60):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = call()
            except Exception as error:
                said.append(Failure(type(error).__name__, str(error), words))
            else:
                said.append(["no error", plain(module, result)])

    say.fails = fails
    module.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(module, say)
    return said


def leaf(m, *values):
    return m.tensor(values, requires_grad=True)


def small_model(m):
    model = m.nn.Sequential(m.nn.Linear(2, 2, bias=False), m.nn.Tanh(), m.nn.Linear(2, 1))
    for p in model.parameters():
        p.data.fill_(0.5)
    return model
