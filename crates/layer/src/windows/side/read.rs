//! Reads a side file, and believes nothing.

use std::collections::HashSet;
use std::io::{self, Read};

use super::{HOST_NAME, MAGIC, MAX_BYTES, TOMBSTONED, VERSION};
use crate::windows::table::{NodeId, ROOT, Table, What};
use crate::windows::upcase::folded;
use crate::windows::{
    Area, Attributes, Entry, ExtendedAttributes, FileTime, Kind, LinkKind, Metadata, Reparse,
    SecurityDescriptor, StreamName, Times, WindowsLimits, WindowsPath,
};
use crate::{LayerError, Place};

type Problem = &'static str;

/// Reads a side file to its end. The streams of the table begin where they lie in it.
pub fn read_side_file(input: impl Read, limits: &WindowsLimits) -> Result<Table, LayerError> {
    let mut decoder = Decoder {
        input: io::BufReader::new(input),
        crc: crc32fast::Hasher::new(),
        offset: 0,
        record: 0,
    };
    let mut table = Table::new(limits.table());
    decoder.run(&mut table, limits)?;
    Ok(table)
}

struct Decoder<R> {
    input: R,
    crc: crc32fast::Hasher,
    offset: u64,
    record: u64,
}

/// What is known while records are read.
struct State {
    descriptors: Vec<SecurityDescriptor>,
    /// How many of them were used; they must be used in order.
    used: usize,
    /// Ancestors of the record with the lengths of their paths.
    open: Vec<(NodeId, usize)>,
    path: String,
    /// Last sibling at each depth.
    siblings: Vec<String>,
    nodes: Vec<NodeId>,
    hosts: HashSet<(NodeId, String)>,
}

impl<R: Read> Decoder<R> {
    fn run(&mut self, table: &mut Table, limits: &WindowsLimits) -> Result<(), LayerError> {
        let mut magic = [0; 12];
        self.fill(&mut magic)?;
        if magic[..8] != *MAGIC {
            return Err(self.bad("it does not begin like one"));
        }
        if magic[8..] != VERSION.to_le_bytes() {
            return Err(self.bad("its version is not known"));
        }
        let mut state = State {
            descriptors: Vec::new(),
            used: 0,
            open: vec![(ROOT, 0)],
            path: String::new(),
            siblings: Vec::new(),
            nodes: Vec::new(),
            hosts: HashSet::new(),
        };
        let place = Place::default();
        for _ in 0..self.number()? {
            let bytes = self.bytes()?;
            table
                .charge(bytes.len() as u64, &place)
                .map_err(|error| self.rule(error))?;
            let descriptor = SecurityDescriptor::new(&bytes).map_err(|problem| self.bad(problem))?;
            state.descriptors.push(descriptor);
        }
        let distinct: HashSet<&SecurityDescriptor> = state.descriptors.iter().collect();
        if distinct.len() < state.descriptors.len() {
            return Err(self.bad("a security descriptor stands twice"));
        }
        let records = self.number()?;
        if records > limits.max_entries {
            return Err(self.bad("it has more records than a layer may have entries"));
        }
        for _ in 0..records {
            self.record += 1;
            self.one(table, &mut state)?;
        }
        if state.used < state.descriptors.len() {
            return Err(self.bad("a security descriptor is not used"));
        }
        self.streams(table, &state.nodes, limits)?;
        let crc = self.crc.clone().finalize();
        let mut sum = [0; 4];
        self.fill(&mut sum)?;
        if sum != crc.to_le_bytes() {
            return Err(self.bad("the checksum does not match"));
        }
        if self.input.read(&mut [0]).map_err(LayerError::read)? != 0 {
            return Err(self.bad("something stands behind its end"));
        }
        Ok(())
    }

    fn one(&mut self, table: &mut Table, state: &mut State) -> Result<(), LayerError> {
        let depth = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if depth == 0 || depth > state.open.len() {
            return Err(self.bad("a record has no parent"));
        }
        let name = self.text()?;
        state.open.truncate(depth);
        state.siblings.truncate(depth);
        let (parent, length) = *state.open.last().expect("the root stays");
        if !matches!(table.what(parent), What::Directory { .. }) {
            return Err(self.bad("a record stands below one that is no directory"));
        }
        if let Some(sibling) = state.siblings.get_mut(depth - 1) {
            if *sibling >= name {
                return Err(self.bad("records are not sorted"));
            }
            sibling.clone_from(&name);
        } else {
            state.siblings.push(name.clone());
        }
        state.path.truncate(length);
        if depth > 1 {
            state.path.push('/');
        }
        state.path.push_str(&name);
        if name.contains('/') {
            return Err(self.bad("a name has a slash"));
        }
        let path = WindowsPath::new(&state.path).map_err(|problem| self.bad(problem))?;
        let [kind] = self.array()?;
        let host = if kind & HOST_NAME != 0 {
            let host = self.text()?;
            self.check_host(&name, &host)?;
            if !state.hosts.insert((parent, host.clone())) {
                return Err(self.bad("two names on the host are the same"));
            }
            Some(host.into())
        } else {
            None
        };
        let here = Place {
            entry: self.record,
            offset: self.offset,
            name: state.path.clone().into_bytes(),
        };
        let node = table
            .add(parent, &name, host, false, &here)
            .map_err(|error| self.rule(error))?;
        state.nodes.push(node);
        let tombstoned = kind & TOMBSTONED != 0;
        if tombstoned {
            if path.area() == Area::Hives || !path.is_inner() {
                return Err(self.bad("a part of a layer is deleted"));
            }
            table.tombstone(node, &here).map_err(|error| self.rule(error))?;
        }
        let kind = match kind & !(TOMBSTONED | HOST_NAME) {
            6 if tombstoned => None,
            kind => Some(self.kind(kind, table, state)?),
        };
        let mut streams = Vec::new();
        if let Some(kind) = kind {
            if matches!(kind, Kind::File { .. }) {
                streams = self.stream_list()?;
            }
            let entry = Entry { path, kind };
            table
                .place(node, &entry, &here)
                .map_err(|error| self.rule(error))?;
            for (name, size) in streams {
                table
                    .stream(node, &name, size, &here)
                    .map_err(|error| self.rule(error))?;
            }
        }
        state.open.push((node, state.path.len()));
        Ok(())
    }

    fn kind(&mut self, kind: u8, table: &Table, state: &mut State) -> Result<Kind, LayerError> {
        let canonical = |attributes: Attributes, bits| attributes.bits() == bits;
        Ok(match kind {
            0..=3 => {
                let bits =
                    u32::try_from(self.number()?).map_err(|_| self.bad("attributes exceed 32 bits"))?;
                let attributes = match kind {
                    0 => Attributes::directory(bits),
                    1 => Attributes::file(bits),
                    _ => Attributes::link(bits),
                };
                if !canonical(attributes, bits) {
                    return Err(self.bad("attributes that an object of this kind cannot have"));
                }
                let metadata = self.metadata(attributes, state)?;
                match kind {
                    0 => Kind::Directory(metadata),
                    1 => Kind::File {
                        metadata,
                        size: self.number()?,
                    },
                    kind => {
                        let link = if kind == 2 {
                            LinkKind::Symlink
                        } else {
                            LinkKind::MountPoint
                        };
                        if kind == 3 && !attributes.has(Attributes::DIRECTORY) {
                            return Err(self.bad("a junction that is no directory"));
                        }
                        let target = self.text()?;
                        let reparse = Reparse::new(link, &target).map_err(|problem| self.bad(problem))?;
                        if reparse.target() != target {
                            return Err(self.bad("the target of a link has a slash"));
                        }
                        Kind::Link { metadata, reparse }
                    }
                }
            }
            4 => {
                let first = usize::try_from(self.number()?).ok();
                let first = first.and_then(|first| state.nodes.get(first).copied());
                let first = first.filter(|first| {
                    let directory = table
                        .metadata(*first)
                        .is_none_or(|metadata| metadata.attributes.has(Attributes::DIRECTORY));
                    !directory && *first != state.nodes[state.nodes.len() - 1]
                });
                let first = first.ok_or_else(|| self.bad("a hard link to nothing"))?;
                if !table.is_first(first) {
                    return Err(self.bad("a hard link to another one"));
                }
                Kind::HardLink {
                    target: table.path(first),
                    lower: false,
                }
            }
            5 => {
                let target = self.text()?;
                let target = WindowsPath::new(&target).map_err(|problem| self.bad(problem))?;
                let own = WindowsPath::checked(&state.path);
                if target.area() != own.area() || !target.is_inner() || target.same(&own) {
                    return Err(self.bad("a hard link out of its part of the layer"));
                }
                if table
                    .find(&target)
                    .is_some_and(|node| !matches!(table.what(node), What::Gone))
                {
                    return Err(self.bad("a hard link below to what this layer has"));
                }
                Kind::HardLink { target, lower: true }
            }
            _ => return Err(self.bad("a record of an unknown kind")),
        })
    }

    fn metadata(&mut self, attributes: Attributes, state: &mut State) -> Result<Metadata, LayerError> {
        let modified = self.number()?;
        let mut others = [FileTime::default(); 3];
        let out_of_range = "a time that Windows does not know";
        if modified > i64::MAX.cast_unsigned() {
            return Err(self.bad(out_of_range));
        }
        for other in &mut others {
            let number = self.number()?;
            let difference = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
            let ticks = modified.cast_signed().checked_add(difference);
            let ticks = ticks.and_then(|ticks| u64::try_from(ticks).ok());
            *other = FileTime::from_ticks(ticks.ok_or_else(|| self.bad(out_of_range))?);
        }
        let [created, accessed, changed] = others;
        let number = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if number > state.used || number >= state.descriptors.len() {
            return Err(self.bad("a security descriptor that does not exist, or is not yet due"));
        }
        state.used = state.used.max(number + 1);
        let mut list = Vec::new();
        for _ in 0..self.number()? {
            list.push((self.bytes()?, self.bytes()?));
            if list.len() > 0xffff {
                return Err(self.bad("too many extended attributes"));
            }
        }
        if !list.is_sorted() {
            return Err(self.bad("extended attributes are not sorted"));
        }
        Ok(Metadata {
            attributes,
            times: Times {
                created,
                modified: FileTime::from_ticks(modified),
                accessed,
                changed,
            },
            descriptor: state.descriptors[number].clone(),
            extended: ExtendedAttributes::new(list).map_err(|problem| self.bad(problem))?,
        })
    }

    fn stream_list(&mut self) -> Result<Vec<(StreamName, u64)>, LayerError> {
        let mut streams: Vec<(StreamName, u64)> = Vec::new();
        for _ in 0..self.number()? {
            let name = StreamName::new(&self.text()?).map_err(|problem| self.bad(problem))?;
            if streams.last().is_some_and(|(last, _)| *last >= name) {
                return Err(self.bad("streams are not sorted"));
            }
            streams.push((name, self.number()?));
            if streams.len() > 0xffff {
                return Err(self.bad("too many streams"));
            }
        }
        Ok(streams)
    }

    /// Reads over the contents of streams, and notes where they begin.
    fn streams(
        &mut self,
        table: &mut Table,
        nodes: &[NodeId],
        limits: &WindowsLimits,
    ) -> Result<(), LayerError> {
        let mut total = 0u64;
        for node in nodes {
            for index in 0..table.own_streams(*node) {
                let size = table.stream_at(*node, index, self.offset);
                total = total.saturating_add(size);
                if total > limits.max_content_bytes {
                    return Err(self.bad("streams exceed the limit of contents"));
                }
                let mut left = size;
                let mut buffer = [0; 8192];
                while left > 0 {
                    let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.fill(&mut buffer[..count])?;
                    left -= count as u64;
                }
            }
        }
        Ok(())
    }

    fn check_host(&self, name: &str, host: &str) -> Result<(), LayerError> {
        let plain = !matches!(host, "" | "." | "..") && !host.contains(['/', '\0']) && host.len() <= 255;
        let related = folded(host) == folded(name) || host.contains('|');
        if !plain || !related || host == name {
            return Err(self.bad("a name on the host that does not belong to its own"));
        }
        Ok(())
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<(), LayerError> {
        self.input.read_exact(out).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.bad("it is cut short"),
            _ => LayerError::read(source),
        })?;
        self.crc.update(out);
        self.offset += out.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], LayerError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, LayerError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                return Err(self.bad("a number exceeds 64 bits"));
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.bad("a number is not in its shortest form"));
                }
                return Ok(number);
            }
        }
        Err(self.bad("a number exceeds 64 bits"))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, LayerError> {
        let length = self.number()?;
        let length = usize::try_from(length).ok().filter(|_| length <= MAX_BYTES);
        let mut bytes = vec![0; length.ok_or_else(|| self.bad("a text is too long"))?];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<String, LayerError> {
        String::from_utf8(self.bytes()?).map_err(|_| self.bad("a text is not valid UTF-8"))
    }

    fn bad(&self, problem: Problem) -> LayerError {
        LayerError::BadSideFile {
            problem,
            record: self.record,
            source: None,
        }
    }

    fn rule(&self, error: LayerError) -> LayerError {
        LayerError::BadSideFile {
            problem: "it breaks a rule of layers",
            record: self.record,
            source: Some(Box::new(error)),
        }
    }
}
