//! Additional names in the object and device namespaces of a Windows container. Needs build 20348.

use crate::document::document;

document! {
    /// Extensions of a container's namespaces.
    strict ContainerDefinitionDevice = "hcs_v2.ContainerDefinitionDevice" {
        /// The extensions.
        device_extension: Vec<DeviceExtension> = "device_extension",
    }
}

document! {
    /// One extension.
    strict DeviceExtension = "hcs_v2.DeviceExtension" {
        /// The device category it belongs to.
        device_category: Option<DeviceCategory> = "device_category",
        /// The names it adds.
        namespace: Option<DeviceExtensionNamespace> = "namespace",
    }
}

document! {
    /// A category of devices.
    strict DeviceCategory = "hcs_v2.DeviceCategory" {
        /// The name.
        name: String = "name",
        /// The interface classes in it.
        interface_class: Vec<InterfaceClass> = "interface_class",
    }
}

document! {
    /// An interface class.
    strict InterfaceClass = "hcs_v2.InterfaceClass" {
        /// The kind of the identifier.
        class_type: String = "type",
        /// The identifier, a GUID for device interfaces.
        identifier: String = "identifier",
        /// Whether devices below are meant too.
        recurse: bool = "recurse",
    }
}

document! {
    /// The names an extension adds.
    strict DeviceExtensionNamespace = "hcs_v2.DeviceExtensionNamespace" {
        /// Names of objects.
        ob: Option<ObjectNamespace> = "ob",
        /// Names of devices.
        device: Option<DeviceNamespace> = "device",
    }
}

document! {
    /// Names of objects.
    strict ObjectNamespace = "hcs_v2.ObjectNamespace" {
        /// Whether names of the host show through.
        shadow: String = "shadow",
        /// Links.
        symlink: Vec<ObjectSymlink> = "symlink",
        /// Directories.
        objdir: Vec<ObjectDirectory> = "objdir",
    }
}

document! {
    /// A directory of objects.
    strict ObjectDirectory = "hcs_v2.ObjectDirectory" {
        /// The name.
        name: String = "name",
        /// The directory whose security descriptor is copied.
        clonesd: String = "clonesd",
        /// Whether names of the host show through.
        shadow: String = "shadow",
        /// Links.
        symlink: Vec<ObjectSymlink> = "symlink",
        /// Directories below.
        objdir: Vec<Self> = "objdir",
    }
}

document! {
    /// A link in the object namespace.
    strict ObjectSymlink = "hcs_v2.ObjectSymlink" {
        /// The name.
        name: String = "name",
        /// The target.
        path: String = "path",
        /// Where the target is resolved.
        scope: String = "scope",
        /// The link that is copied.
        pathtoclone: String = "pathtoclone",
        /// The access that is granted.
        access_mask: u32 = "access_mask",
    }
}

document! {
    /// Names of devices.
    strict DeviceNamespace = "hcs_v2.DeviceNamespace" {
        /// Whether the driver store of the host is needed.
        requires_driverstore: bool = "requires_driverstore",
        /// Categories.
        device_category: Vec<DeviceCategory> = "device_category",
        /// Single devices.
        device_instance: Vec<DeviceInstance> = "device_instance",
    }
}

document! {
    /// A single device.
    strict DeviceInstance = "hcs_v2.DeviceInstance" {
        /// The instance.
        id: String = "id",
        /// Its location.
        location_path: String = "location_path",
        /// Its name as a port.
        port_name: String = "port_name",
        /// Its interface classes.
        interface_class: Vec<InterfaceClass> = "interface_class",
    }
}
