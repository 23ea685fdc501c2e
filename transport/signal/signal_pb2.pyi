from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EncryptedMessage(_message.Message):
    __slots__ = ("key", "remoteKey", "body")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REMOTEKEY_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    key: str
    remoteKey: str
    body: bytes
    def __init__(self, key: _Optional[str] = ..., remoteKey: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class Body(_message.Message):
    __slots__ = ("type", "payload", "wgListenPort", "netBirdVersion", "mode", "featuresSupported", "rosenpassConfig", "relayServerAddress", "sessionId", "relayServerIP", "homing")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OFFER: _ClassVar[Body.Type]
        ANSWER: _ClassVar[Body.Type]
        CANDIDATE: _ClassVar[Body.Type]
        MODE: _ClassVar[Body.Type]
        GO_IDLE: _ClassVar[Body.Type]
        HEARTBEAT: _ClassVar[Body.Type]
    OFFER: Body.Type
    ANSWER: Body.Type
    CANDIDATE: Body.Type
    MODE: Body.Type
    GO_IDLE: Body.Type
    HEARTBEAT: Body.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    WGLISTENPORT_FIELD_NUMBER: _ClassVar[int]
    NETBIRDVERSION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    FEATURESSUPPORTED_FIELD_NUMBER: _ClassVar[int]
    ROSENPASSCONFIG_FIELD_NUMBER: _ClassVar[int]
    RELAYSERVERADDRESS_FIELD_NUMBER: _ClassVar[int]
    SESSIONID_FIELD_NUMBER: _ClassVar[int]
    RELAYSERVERIP_FIELD_NUMBER: _ClassVar[int]
    HOMING_FIELD_NUMBER: _ClassVar[int]
    type: Body.Type
    payload: str
    wgListenPort: int
    netBirdVersion: str
    mode: Mode
    featuresSupported: _containers.RepeatedScalarFieldContainer[int]
    rosenpassConfig: RosenpassConfig
    relayServerAddress: str
    sessionId: bytes
    relayServerIP: bytes
    homing: HomingFields
    def __init__(self, type: _Optional[_Union[Body.Type, str]] = ..., payload: _Optional[str] = ..., wgListenPort: _Optional[int] = ..., netBirdVersion: _Optional[str] = ..., mode: _Optional[_Union[Mode, _Mapping]] = ..., featuresSupported: _Optional[_Iterable[int]] = ..., rosenpassConfig: _Optional[_Union[RosenpassConfig, _Mapping]] = ..., relayServerAddress: _Optional[str] = ..., sessionId: _Optional[bytes] = ..., relayServerIP: _Optional[bytes] = ..., homing: _Optional[_Union[HomingFields, _Mapping]] = ...) -> None: ...

class Mode(_message.Message):
    __slots__ = ("direct",)
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    direct: bool
    def __init__(self, direct: _Optional[bool] = ...) -> None: ...

class RosenpassConfig(_message.Message):
    __slots__ = ("rosenpassPubKey", "rosenpassServerAddr")
    ROSENPASSPUBKEY_FIELD_NUMBER: _ClassVar[int]
    ROSENPASSSERVERADDR_FIELD_NUMBER: _ClassVar[int]
    rosenpassPubKey: bytes
    rosenpassServerAddr: str
    def __init__(self, rosenpassPubKey: _Optional[bytes] = ..., rosenpassServerAddr: _Optional[str] = ...) -> None: ...

class HomingFields(_message.Message):
    __slots__ = ("offerId", "acknowledges", "cause", "relayGeneration", "relayUrls", "heardDirectMs", "heardRelayedMs", "relayUnreached")
    OFFERID_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGES_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    RELAYGENERATION_FIELD_NUMBER: _ClassVar[int]
    RELAYURLS_FIELD_NUMBER: _ClassVar[int]
    HEARDDIRECTMS_FIELD_NUMBER: _ClassVar[int]
    HEARDRELAYEDMS_FIELD_NUMBER: _ClassVar[int]
    RELAYUNREACHED_FIELD_NUMBER: _ClassVar[int]
    offerId: int
    acknowledges: int
    cause: int
    relayGeneration: int
    relayUrls: _containers.RepeatedScalarFieldContainer[str]
    heardDirectMs: int
    heardRelayedMs: int
    relayUnreached: str
    def __init__(self, offerId: _Optional[int] = ..., acknowledges: _Optional[int] = ..., cause: _Optional[int] = ..., relayGeneration: _Optional[int] = ..., relayUrls: _Optional[_Iterable[str]] = ..., heardDirectMs: _Optional[int] = ..., heardRelayedMs: _Optional[int] = ..., relayUnreached: _Optional[str] = ...) -> None: ...
