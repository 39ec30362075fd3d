# Sets taper up on Windows: finds uv (or installs it), makes .venv, installs taper with what its
# examples and tests need, and says what to do next.
#
#     powershell -ExecutionPolicy Bypass -File script\install.ps1
#     powershell -ExecutionPolicy Bypass -File script\install.ps1 notebook    # with Jupyter as well
param([Parameter(ValueFromRemainingArguments = $true)] [string[]] $Extras)

$ErrorActionPreference = "Stop"
Set-Location (Join-Path $PSScriptRoot "..")
$wanted = (@("test") + @($Extras | Where-Object { $_ })) -join ","

function Find-Uv {
    $places = @("uv", "$HOME\.local\bin\uv.exe", "$HOME\.cargo\bin\uv.exe")
    foreach ($place in $places) {
        $found = Get-Command $place -ErrorAction SilentlyContinue
        if ($found) { return $found.Source }
    }
    return $null
}

function Assert-Succeeded([string] $What) {
    # $ErrorActionPreference doesn't cover the exit status of programs.
    if ($LASTEXITCODE -ne 0) { throw "$What failed with exit status $LASTEXITCODE" }
}

$uv = Find-Uv
if (-not $uv) {
    Write-Host "uv is not installed; installing it for this user."
    try {
        Invoke-RestMethod https://astral.sh/uv/install.ps1 | Invoke-Expression
    } catch {
        Write-Host "uv's own installer could not be fetched ($_); trying pip."
        python -m pip install --user uv
        Assert-Succeeded "pip install uv"
        $base = python -m site --user-base
        $env:PATH = "$base\Scripts;$env:PATH"
        $scripts = python -c "import sysconfig; print(sysconfig.get_path('scripts', 'nt_user'))"
        $env:PATH = "$scripts;$env:PATH"
    }
    $uv = Find-Uv
    if (-not $uv) {
        throw "uv was installed, but is not where it was expected; open a new terminal and run this script again."
    }
}
Write-Host "Using $(& $uv --version)"

if (-not (Test-Path .venv\Scripts\python.exe)) {
    & $uv venv --python ">=3.11" .venv
    Assert-Succeeded "uv venv"
}
& $uv pip install --python .venv\Scripts\python.exe -e ".[$wanted]"
Assert-Succeeded "uv pip install"

Write-Host @"

taper is installed. Next:

    .venv\Scripts\Activate.ps1
    taper run examples\digits.py      # train a small network on handwritten digits
    taper info                        # what this installation is made of
    pytest -n 2                       # the tests
"@
