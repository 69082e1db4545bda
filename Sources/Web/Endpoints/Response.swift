package import HTTPTypes
package import Kernel
package import NIOCore

/// A value that an endpoint answers with: how it is written.
package protocol WritableBody: Sendable {
    func write(to json: inout JSONWriter)
}

/// The same with its shape, which is the same on every node.
package protocol ResponseBody: WritableBody {
    static var schema: Schema { get }
}

/// What a handler answers.
package struct Response: Sendable {
    enum Content: Sendable {
        case none
        case bytes(ByteBuffer)
        case events(EventStream)
    }

    package var status: HTTPResponse.Status
    package var headers: HTTPFields
    var content: Content

    init(_ status: HTTPResponse.Status, headers: HTTPFields = HTTPFields(), content: Content = .none) {
        self.status = status
        self.headers = headers
        self.content = content
    }

    /// The same answer with one more header.
    ///
    /// - Parameter name: A field name from this program's text; what is none is left out.
    package func with(header name: String, _ value: String) -> Response {
        HTTPField.Name(name).map { with($0, value) } ?? self
    }

    func with(_ name: HTTPField.Name, _ value: String) -> Response {
        var response = self
        response.headers[name] = value
        return response
    }

    package func with(tag: EntityTag?) -> Response {
        guard let tag else { return self }
        var response = self
        response.headers.append(HTTPField(name: .eTag, value: tag.text))
        return response
    }
}

// MARK: - JSON

extension Response {
    package static func ok(_ body: some WritableBody, tag: EntityTag? = nil) -> Response {
        json { body.write(to: &$0) }.with(tag: tag)
    }

    /// - Parameter location: The path of what was created.
    package static func created(_ body: some WritableBody, at location: String, tag: EntityTag? = nil) -> Response {
        var response = json(status: .created) { body.write(to: &$0) }.with(tag: tag)
        response.headers.append(HTTPField(name: .location, value: location))
        return response
    }

    package static func accepted(_ body: some WritableBody) -> Response {
        json(status: .accepted) { body.write(to: &$0) }
    }

    package static var noContent: Response { Response(.noContent) }

    package static func page(_ page: Page<some WritableBody>) -> Response {
        let size = 32 + page.items.count * 512
        return json(reserving: size) { json in
            json.page(next: page.next) { json in
                for item in page.items { item.write(to: &json) }
            }
        }
    }

    /// JSON that is written straight into the answer.
    ///
    /// - Parameter size: An estimate in bytes, so that the buffer need not grow.
    package static func json(
        status: HTTPResponse.Status = .ok,
        reserving size: Int = 512,
        _ write: (inout JSONWriter) throws -> Void
    ) rethrows -> Response {
        var json = JSONWriter(reservingCapacity: size)
        try write(&json)
        return bytes(ByteBuffer(bytes: json.bytes), contentType: "application/json", status: status)
    }

    /// JSON that is already written, such as a page whose rows were encoded as they were read.
    package static func json(_ bytes: [UInt8], status: HTTPResponse.Status = .ok) -> Response {
        self.bytes(ByteBuffer(bytes: bytes), contentType: "application/json", status: status)
    }
}

extension JSONWriter {
    /// Writes one page of a list.
    package mutating func page(next: Cursor?, _ items: (inout JSONWriter) throws -> Void) rethrows {
        beginObject()
        key("data")
        beginArray()
        try items(&self)
        endArray()
        key("next_cursor")
        value(next?.text)
        endObject()
    }
}

// MARK: - Everything else

extension Response {
    package static func bytes(
        _ buffer: ByteBuffer,
        contentType: String,
        status: HTTPResponse.Status = .ok
    ) -> Response {
        var headers = HTTPFields()
        headers.append(HTTPField(name: .contentType, value: contentType))
        return Response(status, headers: headers, content: .bytes(buffer))
    }

    package static func text(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
        bytes(ByteBuffer(string: text), contentType: "text/plain; charset=utf-8", status: status)
    }

    /// A page.
    ///
    /// Unless it brings its own `Content-Security-Policy`, it may use this server's style sheets and images only.
    package static func html(_ text: String, status: HTTPResponse.Status = .ok) -> Response {
        bytes(ByteBuffer(string: text), contentType: "text/html; charset=utf-8", status: status)
    }

    /// Sends the caller elsewhere to read the result.
    package static func seeOther(_ location: String) -> Response {
        var headers = HTTPFields()
        headers.append(HTTPField(name: .location, value: location))
        return Response(.seeOther, headers: headers)
    }
}
