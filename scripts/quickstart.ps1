#Requires -Version 5.1
<#
.SYNOPSIS
From a fresh Windows machine to images in a store of your own: builds the programs, starts the daemon on a pipe of its own,
gets a real image and shows the commands that work on it.

.DESCRIPTION
Needs Rust and a linker for it; says what to install where one is missing, and installs nothing itself. Needs no
administrator and no Windows feature. Everything but the build output lives in one folder under %TEMP%, which is removed at
the end. Run it again at any time.

What this build does on Windows: pull, list, inspect, tag, save, load, push and remove images of any platform. It does not run
containers on Windows yet; the last step shows how it says so.

.PARAMETER Registry
Where to take the image from instead of Docker Hub: HOST[:PORT][/PATH]. Registries on loopback are spoken to without TLS.

.PARAMETER Image
The image, below the registry.

.PARAMETER Keep
Leaves the daemon running and its folder in place, and tells how to use and how to remove them.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File scripts\quickstart.ps1

.EXAMPLE
pwsh -File scripts\quickstart.ps1 -Registry localhost:5000 -Image team/app:1 -Keep
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [string] $Registry = '',
    [string] $Image = 'busybox:latest',
    [switch] $Keep
)

. (Join-Path $PSScriptRoot 'lib\common.ps1')

# A word as a person would type it.
function Format-Word([string] $Word) {
    if ($Word -match '[\s{}]') { return "'$Word'" }
    return $Word
}

# Shows a command as a person would type it, then runs it.
function Show-Command([string[]] $Words, [int] $Expected = 0) {
    Write-Host ''
    Write-Host ('> ctr-like ' + (@($Words | ForEach-Object { Format-Word $_ }) -join ' ')) -ForegroundColor White
    # In 5.1 a line on a redirected standard error is an error record, which must not end the script.
    $ErrorActionPreference = 'Continue'
    & $house.Cli @Words
    if ($LASTEXITCODE -ne $Expected) {
        throw "'ctr-like $($Words[0])' ended with exit code $LASTEXITCODE, expected $Expected"
    }
}

$house = $null
$code = 1
Push-Location -LiteralPath $repo
try {
    Assert-Windows
    Assert-Rust

    # Asked before the build: nobody should wait for minutes to learn that there is no image.
    if ($Registry -ne '') {
        Assert-RegistryName $Registry
        $reference = "$Registry/$Image"
    }
    elseif (Test-Registry $publicRegistry) {
        $reference = $Image
    }
    else {
        throw "no public registry answers within two seconds ($publicRegistry), and quickstart wants a real image. Name a registry " +
            "that this machine can reach:`n" +
            "  scripts\quickstart.ps1 -Registry HOST[:PORT][/PATH] [-Image NAME[:TAG]]`n" +
            "The image is HOST[:PORT][/PATH]/NAME:TAG, by default NAME:TAG is $Image. A registry on this machine needs no TLS`n" +
            '(-Registry localhost:5000); for Docker Hub over a slow line: -Registry docker.io/library'
    }

    Write-Section 'building (the first time takes some minutes)'
    Invoke-Native 'cargo' @('build', '--release', '--locked', '-p', 'cli', '-p', 'daemon')
    $programs = Join-Path (Get-TargetFolder) 'release'

    Write-Section 'starting the daemon'
    $house = New-House 'quickstart' $programs
    Start-Daemon $house
    Write-Host "listening on \\.\pipe\$($house.Pipe), everything in $($house.Folder)"
    Show-Command @('version')
    Show-Command @('info')

    Write-Section 'the main job: images'
    # A daemon on Windows looks for a Windows image unless told otherwise; its store has room for both.
    Show-Command @('pull', '--platform', 'linux/amd64', $reference)
    Show-Command @('images')
    Show-Command @('inspect', '--format', '{{.Os}}/{{.Architecture}}, {{.Size}} bytes, layers: {{len .RootFS.Layers}}', $reference)

    Write-Section 'out into a file and back'
    $archive = Join-Path $house.Folder 'image.tar'
    Show-Command @('save', '-o', $archive, $reference)
    Show-Command @('rmi', $reference)
    Show-Command @('load', '-i', $archive)
    Show-Command @('images')

    Write-Section 'what does not work here yet: running it. The refusal, with exit code 125:'
    Show-Command @('run', '--rm', '--pull', 'never', '--platform', 'linux/amd64', $reference, 'true') -Expected 125

    if (-not $Keep) {
        Write-Section 'cleaning up'
        Show-Command @('rmi', $reference)
        Show-Command @('daemon', 'stop')
    }
    $code = 0
}
catch {
    Write-Failure 'quickstart' $_
}
finally {
    if ($null -ne $house -and ($code -ne 0 -or -not $Keep)) { Remove-House $house }
    Restore-Environment
    Pop-Location
}

if ($code -ne 0) { exit $code }

if ($Keep) {
    Write-Host @"

The daemon runs on, with its image. To use it from this or another window:

    `$env:CTR_LIKE_HOST = '$($house.Address)'
    `$env:Path = '$(Join-Path $house.Folder 'bin');' + `$env:Path
    ctr-like images

To be rid of it, in the same window:

    ctr-like daemon stop
    Remove-Item -Recurse -Force '$($house.Folder)'
"@
}

Write-Host @"

It works. What to type next (in $repo):

    `$env:Path = '$programs;' + `$env:Path
    ctr-like pull --platform linux/amd64 busybox      # starts a daemon by itself, with its data in %ProgramData%\ctr-like
    ctr-like images
    ctr-like --help
    .\scripts\test.ps1                                # what is proved on Windows, proved again

Containers run on Linux hosts in this build; docs\guide\windows.md says what works on Windows today.
"@
exit 0
