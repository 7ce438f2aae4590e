#Requires -Version 5.1
<#
.SYNOPSIS
Everything that can be proved on a Windows machine: lints, the unit tests of the portable crates and of both programs, and the
real daemon on its pipe.

.DESCRIPTION
A part that fails does not keep the others from running; the end names all failures and everything that was skipped, with
reasons. Needs no administrator and no Windows feature. Exit codes: 0 all parts passed, 1 a part failed, 2 something that
the parts need is missing.

The parts:
  lint   format, clippy for Windows, syntax of the PowerShell scripts
  unit   tests of the portable crates, the command line and the daemon
  pipe   the daemon with a store and a pipe of its own, driven by the command line, by raw JSON lines and by docs\examples

Containers, namespaces and Wine are proved by scripts/test on Linux.

.PARAMETER Part
Which parts, separated by spaces or commas; default: all.

.PARAMETER Registry
A registry that may be written to, HOST[:PORT][/PATH]: the pipe part pushes to it and pulls back. Without it an image is pulled from
Docker Hub where that answers within two seconds.

.PARAMETER Keep
Leaves the folder of the pipe part in place, with the daemon's logs and store. The daemon itself is stopped.

.PARAMETER NoSkip
Something skipped counts as failed.

.EXAMPLE
powershell -ExecutionPolicy Bypass -File scripts\test.ps1 lint unit

.EXAMPLE
pwsh -File scripts\test.ps1 pipe -Registry localhost:5000
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [Parameter(Position = 0, ValueFromRemainingArguments = $true)]
    [string[]] $Part = @(),
    [string] $Registry = '',
    [switch] $Keep,
    [switch] $NoSkip
)

. (Join-Path $PSScriptRoot 'lib\common.ps1')

$allParts = 'lint', 'unit', 'pipe'
$testedCrates = 'hcs', 'layer', 'store', 'gcs', 'compute', 'snapshot', 'image', 'api', 'win32', 'cli', 'daemon'

$skipped = New-Object System.Collections.Generic.List[object]
$failures = New-Object System.Collections.Generic.List[object]
$counts = @{ passed = 0 }

function Add-Skip([string] $Name, [string] $Reason) {
    Write-Host "SKIPPED $Name ($Reason)" -ForegroundColor Yellow
    $skipped.Add([pscustomobject]@{ Part = $current; Name = $Name; Reason = $Reason })
}

function Add-Failure([string] $Name, [string] $Message) {
    Write-Host "FAILED $Name" -ForegroundColor Red
    foreach ($line in $Message -split '\r?\n') { Write-Host "  $line" }
    $failures.Add([pscustomobject]@{ Part = $current; Name = $Name })
}

# One thing that must hold. A failure is noted and the part goes on; gives whether it held.
function Confirm-That([string] $Name, [scriptblock] $Body) {
    try {
        $null = & $Body
        Write-Host "ok      $Name"
        $counts.passed++
        return $true
    }
    catch {
        Add-Failure $Name $_.Exception.Message
        return $false
    }
}

# Runs cargo test on this console and adds up what the test programs say; ignored tests are skips with their reasons.
function Invoke-CargoTest([string[]] $Words) {
    $ErrorActionPreference = 'Continue'
    & cargo @Words | ForEach-Object {
        Write-Host $_
        if ($_ -match '^test (\S+) .*\.\.\. ignored(?:, (.+))?$') {
            $reason = if ($Matches.ContainsKey(2)) { $Matches[2] } else { 'marked ignored without a reason' }
            Add-Skip $Matches[1] $reason
        }
        elseif ($_ -match '^test (.+) \.\.\. FAILED$') {
            $failures.Add([pscustomobject]@{ Part = $current; Name = $Matches[1] })
        }
        elseif ($_ -match '^test result: \w+\. (\d+) passed') {
            $counts.passed += [int] $Matches[1]
        }
    }
    if ($LASTEXITCODE -ne 0) { throw "'cargo $($Words -join ' ')' ended with exit code $LASTEXITCODE" }
}

# rustfmt and clippy are components that a minimal installation of rustup lacks.
function Assert-Component([string] $Command, [string] $Component) {
    $cargo = Find-Program 'cargo.exe'
    if ((Invoke-Program $cargo @($Command, '--version')).Code -eq 0) { return }
    if (-not (Find-Program 'rustup.exe')) { throw "cargo $Command is not installed, and there is no rustup to add $Component" }
    Invoke-Native 'rustup' @('component', 'add', $Component)
}

function Invoke-LintPart {
    $scriptFolders = @('scripts', 'docs\examples' | Where-Object { Test-Path -LiteralPath $_ })
    $null = Confirm-That 'PowerShell scripts have no syntax errors' {
        $scripts = @(Get-ChildItem -Path $scriptFolders -Filter '*.ps1' -Recurse)
        $found = @(foreach ($script in $scripts) {
            $tokens = $null
            $problems = $null
            $null = [System.Management.Automation.Language.Parser]::ParseFile($script.FullName, [ref] $tokens, [ref] $problems)
            $problems | ForEach-Object { "$($script.FullName):$($_.Extent.StartLineNumber): $($_.Message)" }
        })
        if ($found.Count -gt 0) { throw ($found -join "`n") }
    }
    if (Get-Module -ListAvailable -Name PSScriptAnalyzer) {
        $null = Confirm-That 'PSScriptAnalyzer finds no errors' {
            $found = @(foreach ($folder in $scriptFolders) {
                Invoke-ScriptAnalyzer -Path $folder -Recurse -Severity Error
            })
            if ($found.Count -gt 0) { throw (@($found | ForEach-Object { "$($_.ScriptName):$($_.Line): $($_.Message)" }) -join "`n") }
        }
    }
    else {
        Add-Skip 'PSScriptAnalyzer' 'not installed; Install-Module -Scope CurrentUser PSScriptAnalyzer'
    }
    $null = Confirm-That 'rustfmt has nothing to change' {
        Assert-Component 'fmt' 'rustfmt'
        Invoke-Native 'cargo' @('fmt', '--all', '--check') | Out-Host
    }
    $null = Confirm-That 'clippy has nothing to say' {
        Assert-Component 'clippy' 'clippy'
        # The other crates are Linux programs.
        $words = @('clippy', '--workspace', '--exclude', 'emulator', '--exclude', 'guest', '--exclude', 'tests')
        Invoke-Native 'cargo' ($words + @('--all-targets', '--locked', '--', '-D', 'warnings')) | Out-Host
    }
}

function Invoke-UnitPart {
    $words = @('test', '--locked', '--no-fail-fast')
    foreach ($crate in $testedCrates) { $words += @('-p', $crate) }
    Invoke-CargoTest $words
}

# Runs the command line and checks its exit code; gives what it wrote to standard output.
function Invoke-Cli([string[]] $Words, [int] $Expected = 0) {
    $answer = Invoke-Program $house.Cli $Words
    if ($answer.Code -ne $Expected) {
        throw "'ctr-like $($Words -join ' ')' ended with $($answer.Code), expected $Expected`nstdout: $($answer.Out)`nstderr: $($answer.Err)"
    }
    if ($Expected -ne 0) { return $answer.Err }
    return $answer.Out
}

function Assert-Match([string] $Text, [string] $Pattern) {
    if ($Text -notmatch $Pattern) { throw "expected something that matches '$Pattern', got: $Text" }
}

function Assert-Equal($Actual, $Expected) {
    if ($Actual -ne $Expected) { throw "expected '$Expected', got '$Actual'" }
}

# Sends lines over a connection of its own and gives as many lines back, without any code of ours.
function Send-Line([string[]] $Lines) {
    $pipe = [System.IO.Pipes.NamedPipeClientStream]::new('.', $house.Pipe, [System.IO.Pipes.PipeDirection]::InOut,
        [System.IO.Pipes.PipeOptions]::Asynchronous)
    try {
        $pipe.Connect(5000)
        $bytes = [System.Text.Encoding]::UTF8.GetBytes(($Lines -join "`n") + "`n")
        $pipe.Write($bytes, 0, $bytes.Length)
        $reader = New-Object System.IO.StreamReader $pipe
        foreach ($line in $Lines) {
            $reading = $reader.ReadLineAsync()
            if (-not $reading.Wait(10000)) { throw "no answer within 10 seconds to: $line" }
            if ($null -eq $reading.Result) { throw "the daemon closed the connection instead of answering: $line" }
            $reading.Result
        }
    }
    finally {
        $pipe.Dispose()
    }
}

# An archive as docker saves it, with one image of one file, made by Windows' own tar: the part needs no network.
function New-ImageArchive([string] $Folder, [string] $Name) {
    $tar = Join-Path ([Environment]::SystemDirectory) 'tar.exe'
    if (-not (Test-Path -LiteralPath $tar)) { throw "$tar is missing; Windows has it since build 17063" }
    $files = Join-Path $Folder 'files'
    $null = New-Item -ItemType Directory -Path (Join-Path $files 'etc')
    [System.IO.File]::WriteAllText((Join-Path $files 'etc\greeting'), "hello from Windows`n")
    Invoke-Tar $tar @('--format', 'ustar', '-cf', (Join-Path $Folder 'layer.tar'), '-C', $files, 'etc')
    $digest = (Get-FileHash -Algorithm SHA256 -LiteralPath (Join-Path $Folder 'layer.tar')).Hash.ToLowerInvariant()
    $config = [ordered]@{
        architecture = 'amd64'
        os           = 'linux'
        config       = [ordered]@{ Cmd = @('/bin/sh'); Labels = @{ 'test.origin' = 'test.ps1' } }
        rootfs       = [ordered]@{ type = 'layers'; diff_ids = @("sha256:$digest") }
    }
    $entry = [ordered]@{ Config = 'config.json'; RepoTags = @($Name); Layers = @('layer.tar') }
    [System.IO.File]::WriteAllText((Join-Path $Folder 'config.json'), (ConvertTo-Json $config -Depth 8 -Compress))
    # Windows PowerShell unrolls a list of one before it becomes JSON.
    [System.IO.File]::WriteAllText((Join-Path $Folder 'manifest.json'), '[' + (ConvertTo-Json $entry -Depth 8 -Compress) + ']')
    $archive = Join-Path $Folder 'made.tar'
    Invoke-Tar $tar @('--format', 'ustar', '-cf', $archive, '-C', $Folder, 'manifest.json', 'config.json', 'layer.tar')
    return $archive
}

function Invoke-Tar([string] $Tar, [string[]] $Words) {
    $answer = Invoke-Program $Tar $Words
    if ($answer.Code -ne 0) { throw "tar failed: $($answer.Err)" }
}

function Invoke-PipePart {
    Invoke-Native 'cargo' @('build', '--locked', '-p', 'cli', '-p', 'daemon') | Out-Host
    $script:house = New-House 'test' (Join-Path (Get-TargetFolder) 'debug')
    try {
        Start-Daemon $house
        Test-Wire
        Test-Images
        Test-Registries
        Test-Refusals
        Test-Lives
        Test-Example
    }
    finally {
        if ($Keep) {
            $null = Stop-Daemon $house
            Write-Host "kept: $($house.Folder)"
        }
        else {
            Remove-House $house
        }
    }
}

function Test-Wire {
    $null = Confirm-That 'a script speaks to the pipe with lines of JSON' {
        $answers = @(Send-Line @(
            '{"id":1,"method":"ctr.v1.System/Version"}'
            '{"id":2,"method":"ctr.v1.System/Nope"}'
            '{"id":3,"method":"ctr.v1.System/Ping"}'
        ) | ForEach-Object { $_ | ConvertFrom-Json } | Sort-Object -Property id)
        Assert-Match $answers[0].result.version '^\d+\.\d+\.\d+'
        Assert-Equal $answers[1].error.code 'UNIMPLEMENTED'
        Assert-Equal $answers[2].id 3
        if ($null -eq $answers[2].PSObject.Properties['result']) { throw "Ping failed: $($answers[2].error.message)" }
    }
    $null = Confirm-That 'a line that is no JSON is refused and the daemon lives on' {
        Assert-Match (Send-Line @('this is no JSON')) '"error"'
        Assert-Match (Send-Line @('{"id":1,"method":"ctr.v1.System/Ping"}')) '"result"'
    }
    $null = Confirm-That 'version and info tell of both sides and of the host' {
        $version = Invoke-Cli @('version', '--format', 'json') | ConvertFrom-Json
        Assert-Equal $version.Client.Version $version.Server.Version
        Assert-Match (Invoke-Cli @('info', '--format', 'json')) '"OSType":\s*"windows"'
    }
}

function Test-Images {
    $work = New-Item -ItemType Directory -Path (Join-Path $house.Folder 'work')
    $null = Confirm-That 'an archive is loaded, listed and inspected' {
        $archive = New-ImageArchive $work.FullName 'made-here:1'
        Assert-Match (Invoke-Cli @('load', '-i', $archive)) 'made-here:1'
        $list = Invoke-Cli @('images', '--format', 'json') | ConvertFrom-Json
        Assert-Equal "$($list.Repository):$($list.Tag)" 'made-here:1'
        $image = @(Invoke-Cli @('inspect', 'made-here:1') | ConvertFrom-Json)[0]
        Assert-Equal "$($image.Os)/$($image.Architecture)" 'linux/amd64'
        Assert-Equal (@($image.RootFS.Layers).Count) 1
        Assert-Equal ($image.Config.Labels.'test.origin') 'test.ps1'
    }
    $null = Confirm-That 'an image goes to a file and comes back the same' {
        $before = Invoke-Cli @('images', '-q', '--no-trunc')
        $file = Join-Path $work.FullName 'a name with spaces.tar'
        $null = Invoke-Cli @('save', '-o', $file, 'made-here:1')
        $null = Invoke-Cli @('rmi', 'made-here:1')
        Assert-Equal ((Invoke-Cli @('images', '-q')).Trim()) ''
        $null = Invoke-Cli @('load', '-i', $file)
        Assert-Equal (Invoke-Cli @('images', '-q', '--no-trunc')) $before
    }
    $null = Confirm-That 'an image passes through a pipe of cmd' {
        $answer = Invoke-Program (Join-Path ([Environment]::SystemDirectory) 'cmd.exe') @('/d', '/c', 'ctr-like save made-here:1 | ctr-like load')
        if ($answer.Code -ne 0) { throw $answer.Err }
        Assert-Match $answer.Out 'made-here:1'
    }
    $null = Confirm-That 'a tag is another name for the same image' {
        $null = Invoke-Cli @('tag', 'made-here:1', 'other:2')
        $ids = @((Invoke-Cli @('images', '-q')).Trim() -split '\s+' | Sort-Object -Unique)
        Assert-Equal $ids.Count 1
        $null = Invoke-Cli @('rmi', 'other:2')
    }
}

function Test-Registries {
    if ($Registry -ne '') {
        $null = Confirm-That "an image goes to $Registry and comes back the same" {
            $name = '{0}/ctr-like-test:{1}' -f $Registry, [guid]::NewGuid().ToString('N').Substring(0, 8)
            $null = Invoke-Cli @('tag', 'made-here:1', $name)
            $null = Invoke-Cli @('push', $name)
            $before = Invoke-Cli @('inspect', '--format', '{{.Id}}', $name)
            $null = Invoke-Cli @('rmi', $name)
            $null = Invoke-Cli @('pull', '--platform', 'linux/amd64', $name)
            Assert-Equal (Invoke-Cli @('inspect', '--format', '{{.Id}}', $name)) $before
            $null = Invoke-Cli @('rmi', $name)
        }
        return
    }
    Add-Skip 'push' 'no registry that may be written to; give -Registry HOST[:PORT][/PATH]'
    if (-not (Test-Registry $publicRegistry)) {
        Add-Skip 'pull' "$publicRegistry does not answer within two seconds; give -Registry HOST[:PORT][/PATH]"
        return
    }
    $null = Confirm-That 'an image is pulled from Docker Hub, and a second time is up to date' {
        $null = Invoke-Cli @('pull', '--platform', 'linux/amd64', 'busybox:latest')
        $answer = Invoke-Program $house.Cli @('pull', '--platform', 'linux/amd64', 'busybox:latest')
        Assert-Match "$($answer.Out)$($answer.Err)" 'up to date'
        $null = Invoke-Cli @('rmi', 'busybox:latest')
    }
}

function Test-Refusals {
    $null = Confirm-That 'running a container is refused with exit code 125 and the reason' {
        $told = Invoke-Cli @('run', '--rm', '--pull', 'never', '--platform', 'linux/amd64', 'made-here:1', 'true') -Expected 125
        Assert-Match $told 'Host Compute Service|computecore'
        Assert-Equal ((Invoke-Cli @('ps', '-aq')).Trim()) ''
    }
    $null = Confirm-That 'what does not exist is named' {
        Assert-Match (Invoke-Cli @('inspect', 'nothing') -Expected 1) 'No such'
    }
    $null = Confirm-That 'a file that is no archive is refused and leaves nothing' {
        $file = Join-Path $house.Folder 'garbage.tar'
        [System.IO.File]::WriteAllText($file, 'this is not an archive')
        Assert-Match (Invoke-Cli @('load', '-i', $file) -Expected 1) 'archive'
        Assert-Match (Invoke-Cli @('images')) 'made-here'
    }
    $null = Confirm-That 'a second daemon on the same store is refused and harms nothing' {
        $second = Invoke-Program $house.Daemon @('--host', "$($house.Address)-second") -Seconds 30
        if ($second.Code -eq 0) { throw 'it ended with exit code 0' }
        Assert-Match $second.Err 'in use by another process'
        $null = Invoke-Cli @('images')
    }
    $null = Confirm-That 'a second daemon on the same pipe is refused' {
        $root = Join-Path $house.Folder 'second'
        $second = Invoke-Program $house.Daemon @('--root', $root) -Seconds 30
        if ($second.Code -eq 0) { throw 'it ended with exit code 0' }
        Assert-Match $second.Err 'cannot listen'
    }
}

function Test-Lives {
    $null = Confirm-That 'the daemon stops when asked, and the next one has the image' {
        if (-not (Stop-Daemon $house)) { throw 'it did not end within 20 seconds' }
        Assert-Match (Invoke-Cli @('images') -Expected 1) 'error during connect'
        Start-Daemon $house
        Assert-Match (Invoke-Cli @('images')) 'made-here'
    }
    $null = Confirm-That 'the daemon is killed, and the next one has the image' {
        Stop-Process -InputObject $house.Process -Force
        if (-not $house.Process.WaitForExit(10000)) { throw 'it did not end' }
        Start-Daemon $house
        Assert-Match (Invoke-Cli @('inspect', 'made-here:1')) 'sha256:'
    }
}

# The example that people copy from, in every PowerShell of this machine.
function Test-Example {
    $example = Join-Path $repo 'docs\examples\client.ps1'
    if (-not (Test-Path -LiteralPath $example)) {
        Add-Skip 'docs\examples\client.ps1' 'there is no such file'
        return
    }
    foreach ($shell in 'powershell.exe', 'pwsh.exe') {
        $program = Find-Program $shell
        if (-not $program) {
            Add-Skip "docs\examples\client.ps1 in $shell" 'this PowerShell is not installed'
            continue
        }
        $null = Confirm-That "docs\examples\client.ps1 works in $shell" {
            $answer = Invoke-Program $program @('-NoProfile', '-ExecutionPolicy', 'Bypass', '-File', $example)
            if ($answer.Code -ne 0) { throw "exit code $($answer.Code)`nstdout: $($answer.Out)`nstderr: $($answer.Err)" }
        }
    }
}

# A part that throws has failed where it stopped; what it noted before stays noted.
function Invoke-Part([string] $Name) {
    Write-Section $Name
    $script:current = $Name
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    try {
        switch ($Name) {
            'lint' { Invoke-LintPart }
            'unit' { Invoke-UnitPart }
            'pipe' { Invoke-PipePart }
        }
    }
    catch {
        Add-Failure "part $Name" $_.Exception.Message
        Write-Verbose "$($_.ScriptStackTrace)"
    }
    Write-Host ('{0} took {1:n0} s' -f $Name, $watch.Elapsed.TotalSeconds)
}

$house = $null
$current = ''
$code = 2
Push-Location -LiteralPath $repo
try {
    $wanted = @(($Part -join ' ') -split '[,\s]+' | Where-Object { $_ -ne '' })
    foreach ($name in $wanted) {
        if ($allParts -notcontains $name) { throw "no part called $name; there are: $($allParts -join ' ')" }
    }
    if ($wanted.Count -eq 0) { $wanted = $allParts }
    # In this order always: the pipe part leaves its daemon's address in the environment until the end.
    $parts = @($allParts | Where-Object { $wanted -contains $_ })
    if ($Registry -ne '') { Assert-RegistryName $Registry }
    Assert-Windows
    Assert-Rust

    foreach ($name in $parts) { Invoke-Part $name }

    Write-Section 'result'
    Write-Host "$($counts.passed) passed, $($failures.Count) failed, $($skipped.Count) skipped; parts: $($parts -join ' ')"
    Write-Host 'not on Windows: containers, the guest agent, the emulator and Wine; scripts/test proves them on Linux'
    foreach ($skip in $skipped) { Write-Host "skipped: [$($skip.Part)] $($skip.Name): $($skip.Reason)" }
    foreach ($failure in $failures) { Write-Host "failed: [$($failure.Part)] $($failure.Name)" -ForegroundColor Red }
    $code = 0
    if ($failures.Count -gt 0 -or ($NoSkip -and $skipped.Count -gt 0)) { $code = 1 }
    if ($code -eq 0) { Write-Host "all parts passed: $($parts -join ' ')" }
    elseif ($failures.Count -gt 0) { Write-Host "failed parts: $(@($failures | ForEach-Object { $_.Part } | Select-Object -Unique) -join ' ')" }
    else { Write-Host 'something was skipped, which -NoSkip does not allow' }
}
catch {
    $code = 2
    Write-Failure 'test' $_
}
finally {
    Restore-Environment
    Pop-Location
}
exit $code
