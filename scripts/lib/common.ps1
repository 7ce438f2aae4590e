# Shared by the PowerShell scripts: where things are, what this machine has, and a daemon of one's own. Dot-sourced, never run.
# For Windows PowerShell 5.1 and PowerShell 7; pure ASCII, because 5.1 reads files without a byte order mark as ANSI.

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
# Exit codes are looked at where they matter; PowerShell 7 must not turn them into exceptions behind our back.
$PSNativeCommandUseErrorActionPreference = $false

$repo = Split-Path -Parent (Split-Path -Parent $PSScriptRoot)

# The first build whose Host Compute Service has version 2 of the schema: Windows 10 1809, Server 2019.
$minimumBuild = 17763
# Docker Hub's registry, the one that a name without a host means.
$publicRegistry = 'registry-1.docker.io'

# Told to people: progress goes to the host, never into a function's result.
function Write-Section([string] $Text) {
    Write-Host ''
    Write-Host "== $Text" -ForegroundColor Green
}

# One argument of a command line, as C programs on Windows read it.
function ConvertTo-Argument([string] $Text) {
    if ($Text -ne '' -and $Text -notmatch '[\s"]') { return $Text }
    $escaped = [regex]::Replace($Text, '(\\*)"', '$1$1\"')
    $escaped = [regex]::Replace($escaped, '(\\+)$', '$1$1')
    return '"' + $escaped + '"'
}

# Runs a program without a console or input and gives Code, Out and Err. Redirections of PowerShell 5.1 would wrap what it
# says on standard error in error records, and decode its UTF-8 as something else.
function Invoke-Program([string] $File, [string[]] $Arguments = @(), [int] $Seconds = 120) {
    $start = New-Object System.Diagnostics.ProcessStartInfo
    $start.FileName = $File
    $start.Arguments = @($Arguments | ForEach-Object { ConvertTo-Argument $_ }) -join ' '
    $start.UseShellExecute = $false
    $start.CreateNoWindow = $true
    $start.RedirectStandardInput = $true
    $start.RedirectStandardOutput = $true
    $start.RedirectStandardError = $true
    $start.StandardOutputEncoding = New-Object System.Text.UTF8Encoding $false
    $start.StandardErrorEncoding = $start.StandardOutputEncoding
    $process = [System.Diagnostics.Process]::Start($start)
    try {
        $process.StandardInput.Close()
        $out = $process.StandardOutput.ReadToEndAsync()
        $err = $process.StandardError.ReadToEndAsync()
        if (-not $process.WaitForExit($Seconds * 1000)) {
            $process.Kill()
            throw "'$(Split-Path -Leaf $File) $($start.Arguments)' did not end within $Seconds seconds"
        }
        # A process that ours started may hold the other end of a pipe open.
        if (-not [System.Threading.Tasks.Task]::WaitAll([System.Threading.Tasks.Task[]] @($out, $err), 10000)) {
            throw "'$(Split-Path -Leaf $File) $($start.Arguments)' ended, but something still holds its output"
        }
        return [pscustomobject]@{ Code = $process.ExitCode; Out = $out.Result; Err = $err.Result }
    }
    finally {
        $process.Dispose()
    }
}

# Runs a program on this console and fails when it does.
function Invoke-Native([string] $File, [string[]] $Arguments = @()) {
    # In 5.1 a line on a redirected standard error is an error record, which must not end the script.
    $ErrorActionPreference = 'Continue'
    & $File @Arguments
    if ($LASTEXITCODE -ne 0) { throw "'$File $($Arguments -join ' ')' ended with exit code $LASTEXITCODE" }
}

# The path of a program, or nothing.
function Find-Program([string] $Name) {
    $found = @(Get-Command -Name $Name -CommandType Application -ErrorAction SilentlyContinue)
    if ($found.Count -gt 0) { return $found[0].Path }
}

# Variables of this process, put back by Restore-Environment: these scripts also run inside a person's own session.
$savedEnvironment = @{}

function Set-Environment([hashtable] $Values) {
    foreach ($name in $Values.Keys) {
        if (-not $savedEnvironment.ContainsKey($name)) {
            $savedEnvironment[$name] = [Environment]::GetEnvironmentVariable($name)
        }
        [Environment]::SetEnvironmentVariable($name, $Values[$name])
    }
}

function Restore-Environment {
    foreach ($name in @($savedEnvironment.Keys)) {
        if ($null -eq $savedEnvironment[$name]) {
            Remove-Item -Path "Env:$name" -ErrorAction SilentlyContinue
        }
        else {
            [Environment]::SetEnvironmentVariable($name, $savedEnvironment[$name])
        }
        $savedEnvironment.Remove($name)
    }
}

# Refuses a Windows that is too old, and tells what the host has. No feature is required: the daemon starts without one, and
# everything but containers works.
function Assert-Windows {
    if ([Environment]::OSVersion.Platform -ne 'Win32NT') {
        throw 'this script is for Windows; on Linux run the script of the same name without .ps1'
    }
    # The registry tells the truth to programs that Windows shows an older version for compatibility.
    $version = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
    $build = [int] $version.CurrentBuildNumber
    Write-Host "Windows build $build ($($version.ProductName)), PowerShell $($PSVersionTable.PSVersion)"
    if ($build -lt $minimumBuild) {
        throw "Windows build $build is too old: Windows 10 1809 or Server 2019 (build $minimumBuild) is the first that is supported"
    }
    foreach ($feature in 'Containers', 'Microsoft-Hyper-V') {
        Write-Host ('feature {0}: {1}' -f $feature, (Get-FeatureState $feature))
    }
}

function Get-FeatureState([string] $Name) {
    # Get-WindowsOptionalFeature knows as much but wants an administrator.
    try {
        $feature = @(Get-CimInstance -ClassName Win32_OptionalFeature -Filter "Name='$Name'")
    }
    catch {
        return 'unknown'
    }
    if ($feature.Count -eq 0) { return 'absent' }
    switch ($feature[0].InstallState) {
        1 { return 'on' }
        2 { return 'off' }
        3 { return 'absent' }
        default { return 'unknown' }
    }
}

# Makes cargo usable, or says what to install: Rust of the right age, and the linker and C compiler that its target needs.
function Assert-Rust {
    if (-not (Find-Program 'cargo.exe')) {
        # A session older than the installation of rustup does not have its programs on the path yet.
        $folder = if ($env:CARGO_HOME) { $env:CARGO_HOME } else { Join-Path $env:USERPROFILE '.cargo' }
        $folder = Join-Path $folder 'bin'
        if (-not (Test-Path -LiteralPath (Join-Path $folder 'cargo.exe'))) {
            throw 'needs Rust: install rustup (https://rustup.rs, or: winget install Rustlang.Rustup), then run this again'
        }
        Set-Environment @{ Path = "$folder;$env:Path" }
    }
    $rustc = Find-Program 'rustc.exe'
    if (-not $rustc) { throw 'cargo is there but rustc is not: install Rust by rustup (https://rustup.rs)' }
    $answer = Invoke-Program $rustc @('-vV')
    if ($answer.Code -ne 0) { throw "rustc does not work; 'rustup default stable' may help. It said: $($answer.Err.Trim())" }
    if ($answer.Out -notmatch '(?m)^release: (\d+\.\d+\.\d+)') { throw "cannot read the version of ${rustc}: $($answer.Out)" }
    $release = $Matches[1]
    if ($answer.Out -notmatch '(?m)^host: (\S+)') { throw "cannot read the host of ${rustc}: $($answer.Out)" }
    $target = $Matches[1]
    $manifest = [System.IO.File]::ReadAllText((Join-Path $repo 'Cargo.toml'))
    if ($manifest -notmatch '(?m)^rust-version = "([\d.]+)"') { throw 'Cargo.toml names no rust-version' }
    $wanted = $Matches[1]
    if ([version] $release -lt [version] $wanted) {
        throw "Rust $release is too old, $wanted is needed: rustup update stable"
    }
    Write-Host "Rust $release for $target"
    switch -Wildcard ($target) {
        '*-windows-msvc' { Assert-Msvc $target }
        '*-windows-gnu' {
            if (-not (Find-Program 'gcc.exe')) {
                throw 'the GNU toolchain of Rust needs gcc.exe on the path (some dependencies are written in C): ' +
                    'install MinGW-w64, for example from MSYS2 (pacman -S mingw-w64-x86_64-gcc)'
            }
        }
        '*-windows-gnullvm' {
            if (-not (Find-Program 'clang.exe')) { throw 'the GNU-LLVM toolchain of Rust needs clang.exe on the path' }
        }
        default { throw "Rust builds for $target here, not for Windows: rustup default stable-msvc" }
    }
}

function Assert-Msvc([string] $Target) {
    $component = 'Microsoft.VisualStudio.Component.VC.Tools.x86.x64'
    if ($Target -like 'aarch64-*') {
        $component = 'Microsoft.VisualStudio.Component.VC.Tools.ARM64'
        if (-not (Find-Program 'clang.exe')) {
            throw 'on ARM64 the cryptography library ring needs clang.exe on the path: add the component ' +
                '"C++ Clang Compiler for Windows" to Visual Studio, or: winget install LLVM.LLVM'
        }
    }
    # A developer prompt has the tools on its path already.
    if ($env:VCToolsInstallDir) { return }
    $vswhere = Join-Path ([Environment]::GetFolderPath('ProgramFilesX86')) 'Microsoft Visual Studio\Installer\vswhere.exe'
    if (Test-Path -LiteralPath $vswhere) {
        $answer = Invoke-Program $vswhere @('-latest', '-products', '*', '-requires', $component, '-property', 'installationPath')
        if ($answer.Code -eq 0 -and $answer.Out.Trim() -ne '') { return }
    }
    throw "the MSVC toolchain of Rust needs Microsoft's linker and C compiler, and they are not installed ($component). Either`n" +
        "  install the Build Tools:  winget install --id Microsoft.VisualStudio.2022.BuildTools --override " +
        "`"--passive --wait --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended`"`n" +
        '  or use the GNU toolchain: rustup default stable-gnu, and gcc.exe of MinGW-w64 on the path'
}

# Where cargo puts what it builds.
function Get-TargetFolder {
    $answer = Invoke-Program (Find-Program 'cargo.exe') @('metadata', '--format-version', '1', '--no-deps', '--locked')
    if ($answer.Code -ne 0) { throw "cargo metadata failed: $($answer.Err.Trim())" }
    return ($answer.Out | ConvertFrom-Json).target_directory
}

# Whether a registry answers within two seconds.
function Test-Registry([string] $Name, [int] $Port = 443) {
    $client = New-Object System.Net.Sockets.TcpClient
    try {
        return $client.ConnectAsync($Name, $Port).Wait(2000) -and $client.Connected
    }
    catch {
        return $false
    }
    finally {
        $client.Close()
    }
}

# What -Registry may be: HOST[:PORT][/PATH], without a slash at the end.
function Assert-RegistryName([string] $Name) {
    if ($Name -notmatch '^[A-Za-z0-9.\-\[\]:]+(/[a-z0-9._\-]+)*$') {
        throw "-Registry $Name is not HOST[:PORT][/PATH], for example localhost:5000 or docker.io/library"
    }
}

# A folder of one's own with copies of the programs: a daemon that is kept must not lock the files of the next build.
# Gives Folder, Pipe, Address, Cli, Daemon and Process.
function New-House([string] $Purpose, [string] $Programs) {
    $built = @('ctr-like.exe', 'ctr-liked.exe', 'ctr-like-shim.exe' | ForEach-Object { Join-Path $Programs $_ })
    foreach ($program in $built) {
        if (-not (Test-Path -LiteralPath $program)) { throw "$program was not built; is CARGO_BUILD_TARGET set?" }
    }
    $name = 'ctr-like-{0}-{1}' -f $Purpose, [guid]::NewGuid().ToString('N').Substring(0, 8)
    $folder = Join-Path ([System.IO.Path]::GetTempPath()) $name
    $null = New-Item -ItemType Directory -Path (Join-Path $folder 'bin')
    Copy-Item -LiteralPath $built -Destination (Join-Path $folder 'bin')
    # The settings of a daemon that may be installed on this machine are not ours.
    [System.IO.File]::WriteAllText((Join-Path $folder 'daemon.toml'), '')
    $house = [pscustomobject]@{
        Folder  = $folder
        Pipe    = $name
        Address = "npipe:////./pipe/$name"
        Cli     = Join-Path $folder 'bin\ctr-like.exe'
        Daemon  = Join-Path $folder 'bin\ctr-liked.exe'
        Process = $null
    }
    Set-Environment @{
        CTR_LIKE_ROOT     = Join-Path $folder 'root'
        CTR_LIKE_RUN_DIR  = Join-Path $folder 'run'
        CTR_LIKE_CONFIG   = Join-Path $folder 'daemon.toml'
        CTR_LIKE_HOST     = $house.Address
        CTR_LIKE_NO_START = '1'
        Path              = "$(Join-Path $folder 'bin');$env:Path"
    }
    return $house
}

# Starts the daemon of a house and waits until it answers.
function Start-Daemon($House) {
    $log = Join-Path $House.Folder ('daemon-{0}.log' -f @(Get-ChildItem -LiteralPath $House.Folder -Filter 'daemon-*.log').Count)
    $House.Process = Start-Process -FilePath $House.Daemon -WorkingDirectory $House.Folder -WindowStyle Hidden -PassThru `
        -RedirectStandardError $log -RedirectStandardOutput (Join-Path $House.Folder 'daemon.out')
    # Without a handle taken now, the exit code is unknown later.
    $null = $House.Process.Handle
    $watch = [System.Diagnostics.Stopwatch]::StartNew()
    while ((Invoke-Program $House.Cli @('version')).Code -ne 0) {
        if ($House.Process.HasExited) {
            throw "the daemon ended with exit code $($House.Process.ExitCode); its log ends with:`n$(Get-LogEnd $House)"
        }
        if ($watch.Elapsed.TotalSeconds -gt 30) {
            throw "the daemon does not answer on \\.\pipe\$($House.Pipe); its log ends with:`n$(Get-LogEnd $House)"
        }
        Start-Sleep -Milliseconds 100
    }
}

function Get-LogEnd($House) {
    $logs = @(Get-ChildItem -LiteralPath $House.Folder -Filter 'daemon-*.log' | Sort-Object -Property LastWriteTime)
    if ($logs.Count -eq 0) { return '(no log)' }
    return @(Get-Content -LiteralPath $logs[-1].FullName -Tail 20) -join "`n"
}

# Asks the daemon of a house to end; one that does not within 20 seconds is ended. Gives whether it ended by itself.
function Stop-Daemon($House) {
    if ($null -eq $House.Process) { return $true }
    $polite = $true
    if (-not $House.Process.HasExited) {
        try { $null = Invoke-Program $House.Cli @('daemon', 'stop') -Seconds 20 } catch { Write-Verbose "daemon stop: $_" }
        $polite = $House.Process.WaitForExit(20000)
        if (-not $polite) {
            Stop-Process -InputObject $House.Process -Force
            $null = $House.Process.WaitForExit(5000)
        }
    }
    $House.Process.Dispose()
    $House.Process = $null
    return $polite
}

# Ends the daemon and removes the folder.
function Remove-House($House) {
    $null = Stop-Daemon $House
    # Windows lets go of the files of a process, and virus scanners of what they look at, a moment after it ended.
    for ($try = 1; $try -le 10 -and (Test-Path -LiteralPath $House.Folder); $try++) {
        Remove-Item -LiteralPath $House.Folder -Recurse -Force -ErrorAction SilentlyContinue
        if (Test-Path -LiteralPath $House.Folder) { Start-Sleep -Milliseconds 300 }
    }
    if (Test-Path -LiteralPath $House.Folder) { Write-Warning "cannot remove $($House.Folder); remove it by hand" }
}

# Tells why a script failed, on standard error.
function Write-Failure([string] $Script, $ErrorRecord) {
    [Console]::Error.WriteLine("${Script}: $($ErrorRecord.Exception.Message)")
    Write-Verbose "$($ErrorRecord.ScriptStackTrace)"
}
